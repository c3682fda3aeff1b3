"""Label maps are recognised by file name, folder name and voxels."""

import nibabel
import nrrd
import numpy as np
import pytest
from data.readers.layouts import label_map, scan

from tools.data.cases import find_cases, find_labelled_cases
from tools.data.readers import words
from tools.data.readers.label_maps import is_label_map
from tools.utils.errors import InputError

LABEL_MAPS = [
    *("case_00000/segmentation", "s0000/segmentations/liver", "segmentation-0", "label/label0001", "labelsVa/amos_1"),
    *("patient001_frame01_gt", "sub-01/anat/sub-01_dseg", "ct0.seg", "wmh"),
    *("Subj1_T1_DLMUSE", "Subj1_FL_DLWMLS", "a_mask", "a-label", "masks/1", "train_labels/1", "manual_masks/7"),
    *(
        "sub-01_desc-brain_mask",
        "T1_brainmask",
        "aparc+aseg",
        "seg_patient01",
        "ground_truth/3",
        "lesion_segmentation/a",
    ),
]
SCANS = [
    *(
        "case_00000/imaging",
        "s0000/ct",
        "volume-0",
        "img/img0001",
        "imagesTr/amos_1",
        "patient001_frame01",
        "labels_of_joy",
    ),
    *(
        "sub-01/anat/sub-01_T1w",
        "ct0",
        "Subj1_FL",
        "liver_segmentation/ct",
        "brain_wmh/t1/Subj1_T1",
        "maskrade",
        "masked_t1",
    ),
]


@pytest.mark.parametrize("path", LABEL_MAPS)
def test_names_of_label_maps(path):
    assert words.is_label_map_path(path)


@pytest.mark.parametrize("path", SCANS)
def test_names_of_scans(path):
    assert not words.is_label_map_path(path)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_voxels_of_label_maps(tmp_path, kind, suffix):
    voxels = np.broadcast_to((np.arange(30) // 10)[:, None, None], (30, 8, 8)).astype(kind)
    noise = np.random.default_rng(0).integers(0, 200, (30, 8, 8)).astype(kind)
    for name, array in (("map", voxels), ("image", noise)):
        if suffix == ".nrrd":
            nrrd.write(str(tmp_path / f"{name}.nrrd"), array)
        else:
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}{suffix}")
    assert is_label_map(tmp_path / f"map{suffix}")
    assert not is_label_map(tmp_path / f"image{suffix}")


def test_voxels_of_other_images(tmp_path):
    many = np.repeat(np.arange(140), 10).astype(np.uint8).reshape(14, 10, 10).T  # 140 structures, each in one piece
    for name, array, expected in (
        ("many", many, True),
        ("negative", many.astype(np.int16) - 1, False),
        ("constant", np.zeros((4, 4, 4), np.uint8), False),
        ("fractions", (many > 70).astype(np.float32) / 2, True),
        ("complex", many.astype(np.complex64), False),
    ):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
        assert is_label_map(tmp_path / f"{name}.nii.gz") == expected, name
    nibabel.save(nibabel.Nifti2Image(many, np.eye(4)), tmp_path / "second.nii")
    assert is_label_map(tmp_path / "second.nii")
    (tmp_path / "damaged.nii.gz").write_bytes(b"\x1f\x8b")
    assert not is_label_map(tmp_path / "damaged.nii.gz")


@pytest.mark.parametrize("count", [3, 100])
def test_a_label_map_without_a_telling_name_is_found(tmp_path, count, capsys):
    for number in range(count):
        scan(tmp_path / f"a{number}.nii.gz")
    for number in range(count):
        label_map(tmp_path / f"pancreas{number}.nii.gz")
    assert len(find_cases(tmp_path)) == count
    assert f"label maps by content (few distinct values in constant regions): {count} (" in capsys.readouterr().out
    assert len(find_cases(tmp_path, include_label_maps=True)) == 2 * count


def test_patterns_take_no_label_maps_unless_they_name_them(tmp_path):
    scan(tmp_path / "a_T1.nii.gz")
    label_map(tmp_path / "a_T1_seg.nii.gz")
    assert [case["case"] for case in find_cases(tmp_path, {"all": "*.nii.gz"})] == ["a_T1"]
    [case] = find_cases(tmp_path, {"seg": "*_seg.nii.gz"})
    assert case["image"] == [str(tmp_path / "a_T1_seg.nii.gz")]


PAIRS = {
    "folders": ("imagesTr/a1", "labelsTr/a1"),
    "KiTS": ("case_00000/imaging", "case_00000/segmentation"),
    "LiTS": ("volume-1", "segmentation-1"),
    "BTCV": ("img/img0001", "label/label0001"),
    "suffix": ("a1", "a1_seg"),
    "suffix of both": ("a1_image", "a1_label"),
    "Slicer": ("ct1", "ct1.seg"),
    "own folder": ("1/1_flair", "1/seg"),
    "modality": ("fl/Subj1_FL", "wmh/Subj1_FL_DLWMLS"),
    "structure": ("a1", "a1_liver_mask"),
    "by content": ("1/ct", "1/pancreas"),
    "by content, in one folder": ("ct", "pancreas"),
    "parts of the Decathlon": ("imagesVa/a1", "labelsVa/a1"),
    "parts": ("train/images/a1", "train/labels/a1"),
}


@pytest.mark.parametrize("layout", PAIRS)
def test_images_and_label_maps_are_paired(tmp_path, layout):
    names = [
        [name.replace("1", number) for name in PAIRS[layout]] for number in ("123" if "1" in PAIRS[layout][0] else "1")
    ]
    for image, label in names:
        scan(tmp_path / f"{image}.nii.gz")
        label_map(tmp_path / f"{label}.nii.gz")
    found = {case["image"]: case["label"] for case in find_labelled_cases(tmp_path)}
    assert found == {str(tmp_path / f"{image}.nii.gz"): str(tmp_path / f"{label}.nii.gz") for image, label in names}


def test_several_label_maps_of_one_image_are_refused(tmp_path):
    scan(tmp_path / "s1/ct.nii.gz")
    for name in ("liver", "spleen"):
        label_map(tmp_path / f"s1/segmentations/{name}.nii.gz")
    assert len(find_cases(tmp_path)) == 1
    with pytest.raises(InputError, match=r"ct\.nii\.gz: expected one label map, found 2 "):
        find_labelled_cases(tmp_path)


def test_a_named_file_is_a_scan_for_any_content(tmp_path):
    voxels = np.zeros((8, 8, 8), np.int16)
    voxels[2:5, 2:5, 2:5] = 1
    path = tmp_path / "scan_seg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    assert [case["image"] for case in find_cases(path)] == [str(path)]
    with pytest.raises(InputError, match="label maps"):
        find_cases(tmp_path)
