import json

import nibabel as nib
import numpy as np
import pytest

from tools.data.cases import channel_names, find_cases
from tools.data.readers import volumes
from tools.utils.errors import InputError


def nifti(path, shape=(8, 8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    return path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def ids(cases):
    return [case["case"] for case in cases]


def test_tree_of_files(tmp_path):
    for name in ("b/scan.NII", "a.nii.gz", "sub-07/ses-1/anat/sub-07_T1w.nii.gz", "c.x.nrrd"):
        touch(tmp_path / name)
    for name in ("._a.nii.gz", ".cache/x.nii", "notes.txt"):
        touch(tmp_path / name)
    cases = find_cases(tmp_path)
    assert ids(cases) == ["a", "b/scan", "c.x", "sub-07/ses-1/anat/sub-07_T1w"]
    assert [case["patient"] for case in cases] == ["a", "b", "c.x", "sub-07"]
    assert cases[0]["image"] == str(tmp_path / "a.nii.gz")
    assert channel_names(tmp_path) is None


def test_masks_are_excluded_unless_named(tmp_path, capsys):
    for name in ("a.nii.gz", "a_seg.nii.gz", "b_image.nrrd", "b_label.nrrd", "labels_of_joy.nii"):
        touch(tmp_path / name)
    assert ids(find_cases(tmp_path)) == ["a", "b_image", "labels_of_joy"]
    assert "label maps by name: 2 (a_seg.nii.gz, b_label.nrrd)" in capsys.readouterr().out
    assert ids(find_cases(tmp_path, {"mask": "*_seg.nii.gz"})) == ["a"]
    only = tmp_path / "only"
    touch(only / "x_mask.nii")
    with pytest.raises(InputError, match=r"label maps by name: 1 \(x_mask.nii\).*--include_label_maps True"):
        find_cases(only, include_label_maps=False)


def test_links_in_a_circle_end(tmp_path):
    touch(tmp_path / "a" / "x.nii")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert ids(find_cases(tmp_path)) == ["a/x"]


@pytest.mark.parametrize("make", ["missing", "file", "empty", "unknown"])
def test_nothing_to_use(tmp_path, make):
    place = tmp_path / "place"
    if make == "file":
        touch(place)
    elif make != "missing":
        place.mkdir()
    if make == "unknown":
        touch(place / "a.txt")
        touch(place / "b.jpg")
    expected = {"missing": "nothing", "file": "a file", "empty": "no files", "unknown": "1 file with .jpg"}[make]
    with pytest.raises(InputError, match=expected):
        find_cases(place)


def test_two_files_of_one_id(tmp_path):
    touch(tmp_path / "a.nii.gz")
    touch(tmp_path / "a.nrrd")
    with pytest.raises(InputError, match=r"a\.nrrd.*a\.nii\.gz"):
        find_cases(tmp_path)


def test_mha_needs_itk(tmp_path, monkeypatch):
    touch(tmp_path / "a.mha")
    monkeypatch.setattr(volumes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a\.mha.*pip install itk"):
        find_cases(tmp_path)
    monkeypatch.setattr(volumes.importlib.util, "find_spec", lambda name: object())
    assert ids(find_cases(tmp_path)) == ["a"]


CHANNELS = {"T1": "*_t1.nii.gz", "FLAIR": "*_flair.nii.gz"}


def test_channels_in_case_folders_and_flat(tmp_path):
    for name in ("P2/P2", "P1/P1", "flat/a", "flat/b"):
        for end in ("t1", "flair", "seg"):
            touch(tmp_path / f"{name}_{end}.nii.gz")
    cases = find_cases(tmp_path, CHANNELS)
    assert ids(cases) == ["P1/P1", "P2/P2", "flat/a", "flat/b"]
    assert cases[2]["image"] == [str(tmp_path / f"flat/a_{end}.nii.gz") for end in ("t1", "flair")]
    assert channel_names(tmp_path, CHANNELS) == ["T1", "FLAIR"]


def test_channels_of_one_folder_whose_names_disagree(tmp_path):
    for folder in ("P1", "P2"):
        touch(tmp_path / folder / "3_t1.nii.gz")
        touch(tmp_path / folder / "7_flair.nii.gz")
    assert ids(find_cases(tmp_path, CHANNELS)) == ["P1", "P2"]
    assert ids(find_cases(tmp_path, {"only": "3_t1.nii.gz"})) == ["P1", "P2"]


def test_channel_missing(tmp_path):
    for number in range(7):
        touch(tmp_path / f"c{number}_t1.nii.gz")
    touch(tmp_path / "ok_t1.nii.gz")
    touch(tmp_path / "ok_flair.nii.gz")
    with pytest.raises(InputError) as error:
        find_cases(tmp_path, CHANNELS)
    assert str(error.value).count("lacks FLAIR") == 5
    assert "c4 lacks" in str(error.value)
    assert "2 more" in str(error.value)


def test_channel_patterns_that_overlap_or_match_nothing(tmp_path):
    touch(tmp_path / "a_t1ce.nii.gz")
    with pytest.raises(InputError, match="one channel pattern"):
        find_cases(tmp_path, {"T1": "*t1*.nii.gz", "T1CE": "*_t1ce.nii.gz"})
    with pytest.raises(InputError, match=r"channels .*, found none"):
        find_cases(tmp_path, CHANNELS)


def decathlon(root):
    for name in ("imagesTr/t_01", "imagesTr/t_02", "imagesTs/t_03", "labelsTr/t_01"):
        nifti(root / f"{name}.nii.gz", (8, 8, 8, 2))
    content = {
        "modality": {"1": "ADC", "0": "T2"},
        "training": [{"image": f"./imagesTr/t_0{i}.nii.gz", "label": f"./labelsTr/t_0{i}.nii.gz"} for i in (2, 1)],
        "test": ["./imagesTs/t_03.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(content))


def test_decathlon(tmp_path, capsys):
    decathlon(tmp_path)
    assert ids(find_cases(tmp_path)) == ["imagesTr/t_01", "imagesTr/t_02", "imagesTs/t_03"]
    assert channel_names(tmp_path) == ["T2", "ADC"]
    assert "1 file is not used: label maps by name: 1 (labelsTr/t_01.nii.gz)" in capsys.readouterr().out
    touch(tmp_path / "imagesTr" / "t_09.nii.gz")
    assert len(find_cases(tmp_path)) == 3
    assert "not listed in dataset.json: 1 (imagesTr/t_09.nii.gz)" in capsys.readouterr().out
    (tmp_path / "imagesTr" / "t_02.nii.gz").unlink()
    with pytest.raises(InputError, match=r"expected 2 training images, found 1 .*imagesTr/t_02"):
        find_cases(tmp_path)


def test_decathlon_without_its_json_leaves_labels_out(tmp_path, capsys):
    decathlon(tmp_path)
    (tmp_path / "dataset.json").unlink()
    assert ids(find_cases(tmp_path)) == ["imagesTr/t_01", "imagesTr/t_02", "imagesTs/t_03"]
    assert "labelsTr" in capsys.readouterr().out


def test_broken_json(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json: expected a JSON file"):
        find_cases(tmp_path)


def test_one_file_is_one_case(tmp_path):
    path = nifti(tmp_path / "subject.one.nii.gz")
    nifti(tmp_path / "other.nii.gz")
    assert find_cases(path) == [{"case": "subject.one", "patient": "subject.one", "image": str(path)}]
    with pytest.raises(InputError, match="expected a folder of volumes, found a file"):
        find_cases(path, {"T1": "*.nii.gz"})
