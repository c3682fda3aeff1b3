"""Scans and their label maps in trees of published data sets."""

import nibabel
import numpy as np
import pytest
from data.readers.layouts import label_map, scan, write_json

from tools.data.cases import find_cases, find_labelled_cases
from tools.utils.errors import InputError


def write(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)


def ball(size=1.0):
    grid = np.stack(np.meshgrid(*map(np.arange, (16, 18, 12)), indexing="ij"), -1)
    return (((grid - (7.5, 8.5, 5.5)) / (7, 8, 5)) ** 2).sum(-1) < size


def probabilities(path):
    write(path, np.where(ball(), np.random.default_rng(0).random(ball().shape), 0).astype(np.float32))


#: files by kind: scans with their label map (or None), and files that are neither
TREES = {
    "ISLES22": ({"sub-1/anat/sub-1_FLAIR": "D/sub-1/sub-1_msk", "sub-1/dwi/sub-1_adc": "D/sub-1/sub-1_msk"}, []),
    "VerSe": ({"rawdata/sub-1/sub-1_ct": "D/sub-1/sub-1_seg-vert_msk"}, []),
    "BIDS with a region": ({"sub-1/anat/sub-1_FLAIR": "sub-1/anat/sub-1_FLAIR_roi"}, []),
    "ATLAS": ({"sub-1/anat/sub-1_space-MNI1_T1w": "sub-1/anat/sub-1_space-MNI1_label-L_mask"}, []),
    "OpenMind": ({"sub-1/anat/sub-1_T1w": None}, ["D/m/sub-1/anat/sub-1_T1w_anon_mask"]),
    "fMRIPrep": (
        {"sub-1/anat/sub-1_T1w": "D/f/sub-1/anat/sub-1_dseg"},
        ["D/f/sub-1/anat/sub-1_space-MNI1_dseg", "D/f/sub-1/anat/sub-1_desc-brain_mask"],
    ),
    "FLARE": ({"a/images/F_1_0000": "a/labels/F_1", "b/C_1_0000": None}, []),
    "TopCoW": ({f"imagesTr/t_{m}_1_0000": f"cow_seg_labelsTr/t_{m}_1" for m in ("ct", "mr")}, []),
    "groups of nnU-Net": ({"imagesTr/siteA/c_1_0000": "labelsTr/siteA/c_1"}, []),
    "tumour": ({"X1/X1_t1c": "X1/X1_gtv"}, []),
    "folders": ({"T1/s1": "lesion/s1", "FLAIR/s1": "lesion/s1"}, []),
    "channels in folders": ({"images/D_1/D_1_0000": "segmentations/expert/D_1"}, []),
    "COVID-19": ({"ct_scans/c_org_1": "infection_mask/c_1"}, []),
    "LASC": ({"S1/lgemri": "S1/laendo"}, []),
    "time points": (
        {f"P1/{t}/P1_{t}_{m}": f"P1/{t}/P1_{t}_MASK" for t in ("T1", "T2") for m in ("T1", "T2", "FLAIR")},
        [],
    ),
    "consensus": ({"p1/p1_FLAIR": "p1/p1_consensus_gt", "p1/p1_T1W": "p1/p1_consensus_gt"}, ["p1/p1_brainmask"]),
    "brain": ({"p1/flair": "p1/lesion"}, ["p1/flair_bet_mask", "p1/nodif_brain_mask", "p1/brainmask_fs"]),
    "named after masks": ({"brain_mask_study/p1": "brain_mask_study/p1_femoral_head_mask"}, []),
    "of each contrast": ({"p1/t2": "p1/t2_anatomy_reader1", "p1/adc": "p1/adc_tumor_reader1"}, []),
    "named like label maps": (dict.fromkeys(("label01", "GT/s1", "wmh/sub1/flair", "Segmentation/c1", "MASK01")), []),
}


@pytest.mark.parametrize("tree", TREES)
def test_scans_and_their_label_maps(tmp_path, tree):
    def place(name):
        return tmp_path / f"{name.replace('D/', 'derivatives/')}.nii.gz"

    scans, others = TREES[tree]
    for name in scans:
        scan(place(name))
    for name in {*filter(None, scans.values()), *others}:
        write(place(name), ball().astype(np.uint8))
    assert {case["image"] for case in find_cases(tmp_path)} == {str(place(name)) for name in scans}
    pairs = {str(place(image)): str(place(label)) for image, label in scans.items() if label}
    if pairs:
        assert {case["image"]: case["label"] for case in find_labelled_cases(tmp_path)} == pairs
    else:
        with pytest.raises(InputError, match="no label map of any"):
            find_labelled_cases(tmp_path)


@pytest.mark.parametrize("names", [("mask", "lesions"), ("LabelsForTraining", "LabelsForTesting")])
def test_two_kinds_of_label_maps_are_named(tmp_path, names):
    scan(tmp_path / "p1/t1.nii.gz")
    for name in names:
        label_map(tmp_path / f"p1/{name}.nii.gz")
    with pytest.raises(InputError, match=r"(?s)found 2 .*dataset\.json") as error:
        find_labelled_cases(tmp_path)
    assert all(f"p1/{name}.nii.gz" in str(error.value) for name in names)
    assert "\n" not in str(error.value)


def test_a_list_chooses_among_label_maps(tmp_path):
    pairs = []
    for number in (1, 2):
        scan(tmp_path / f"p{number}/t1.nii.gz")
        for name in ("mask", "lesions"):
            label_map(tmp_path / f"p{number}/{name}.nii.gz")
        pairs.append({"image": f"p{number}/t1.nii.gz", "label": f"p{number}/lesions.nii.gz"})
    write_json(tmp_path / "dataset.json", {"training": pairs, "labels": {"0": "background", "1": "lesion"}})
    assert [case["label"] for case in find_labelled_cases(tmp_path)] == [str(tmp_path / one["label"]) for one in pairs]


def test_a_label_map_of_small_parts_is_one_by_its_name(tmp_path):
    scan(tmp_path / "a.nii.gz")
    write(tmp_path / "a_seg.nii.gz", np.kron(np.arange(1000).reshape(10, 10, 10), np.ones((3, 3, 3))).astype(np.int16))
    assert len(find_cases(tmp_path)) == len(find_labelled_cases(tmp_path)) == 1


def test_the_label_map_of_any_channel_counts(tmp_path):
    scan(tmp_path / "p1/CTres.nii.gz")
    scan(tmp_path / "p1/SUV.nii.gz")
    label_map(tmp_path / "p1/SEG.nii.gz")
    [case] = find_labelled_cases(tmp_path, {"CT": "CTres.nii.gz", "PET": "SUV.nii.gz"})
    assert case["label"] == str(tmp_path / "p1/SEG.nii.gz")


@pytest.mark.parametrize(
    "name", ["p1_prob", "pve_0", "c1T1", "softmax", "p1_uncertainty", "xfms/a", "wc2T1", "t1n-voided"]
)
def test_continuous_maps_are_no_scans(tmp_path, name):
    scan(tmp_path / "p1.nii.gz")
    probabilities(tmp_path / f"{name}.nii.gz")
    assert [case["case"] for case in find_cases(tmp_path)] == ["p1"]
    assert len(find_cases(tmp_path, include_label_maps=True)) == 2


def test_deformations_are_no_scans(tmp_path):
    scan(tmp_path / "p1.nii.gz")
    write(tmp_path / "p1_to_atlas.nii.gz", np.zeros((4, 4, 4, 1, 3), np.float32))
    assert [case["case"] for case in find_cases(tmp_path)] == ["p1"]


@pytest.mark.parametrize("name", ["c1T1", "p1_low_dose", "y_01", "jac_01", "warped_01", "posterior_01"])
def test_scans_named_like_maps_are_scans(tmp_path, name):
    scan(tmp_path / f"{name}.nii.gz")
    assert len(find_cases(tmp_path)) == 1


@pytest.mark.parametrize("empty", ["p3/gtvp.nii.gz", "lesion/p3.nii.gz"])
def test_an_empty_mask_among_masks_is_one(tmp_path, empty):
    for number in range(1, 5):
        scan(tmp_path / empty.replace("gtvp", "t1").replace("lesion", "flair").replace("3", str(number)))
        label_map(tmp_path / empty.replace("3", str(number)).replace("gtvp", "region"))
    write(tmp_path / empty.replace("gtvp", "region"), np.zeros((8, 9, 10), np.uint8))
    assert len(find_cases(tmp_path)) == len(find_labelled_cases(tmp_path)) == 4


RANDOM = np.random.default_rng(0)
CONTENTS = {
    "not labelled": (np.where(ball(0.3), 1, np.where(ball(), 0, -1)).astype(np.int16), True),
    "halves": (np.where(ball(), 0.5, 0).astype(np.float32), True),
    "NaN outside": (np.where(ball(), 1, np.nan).astype(np.float32), True),
    "many structures": (np.kron(np.arange(1000).reshape(10, 10, 10), np.ones((6, 6, 6))).astype(np.int32), True),
    "large numbers": (np.where(ball(0.3), 14175, np.where(ball(), 2035, 0)).astype(np.int32), True),
    "low counts": (RANDOM.poisson(np.where(ball(), 1, 0.01)).astype(np.int16), False),
    "four bits": (np.where(ball(), RANDOM.integers(5, 10, ball().shape), 0).astype(np.uint8), False),
    "enlarged": (np.kron(RANDOM.integers(80, 160, (20, 20, 20)), np.ones((2, 2, 2))).astype(np.uint8), False),
    "coarse": ((np.round(RANDOM.normal(0, 300, (16, 16, 16)) / 100) * 100).astype(np.int16), False),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents(tmp_path, kind):
    voxels, is_label_map = CONTENTS[kind]
    write(tmp_path / "a.nii.gz", voxels)
    scan(tmp_path / "b.nii.gz")
    assert len(find_cases(tmp_path)) == 2 - is_label_map


def test_the_slope_counts(tmp_path):
    stored = np.where(ball(), RANDOM.integers(0, 5, ball().shape), 0).astype(np.uint8)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(20, -100)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert len(find_cases(tmp_path)) == 1


def test_the_number_of_a_case_is_no_channel(tmp_path):
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}')
    for part, number in (("Tr", 1), ("Tr", 2), ("Va", 10)):
        scan(tmp_path / f"images{part}/amos_{number:04d}.nii.gz")
        label_map(tmp_path / f"labels{part}/amos_{number:04d}.nii.gz")
    assert len(find_labelled_cases(tmp_path)) == 3
