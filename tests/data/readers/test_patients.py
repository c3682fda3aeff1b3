"""Grouping of scans by patient from their paths."""

import pytest
from data.readers.layouts import image, label_map, scan, write_json

from tools.data.cases import find_cases
from tools.data.readers.base import Folder
from tools.data.readers.class_folders import ClassFolders
from tools.data.readers.patients import describe_patients, find_patients, join_headers
from tools.data.split import split_cases
from tools.utils.errors import InputError

#: case ids, the patients of which are the runs of equal letters
LAYOUTS = {
    "KiTS": ("aabb", ["case_00000/imaging", "case_00000/other", "case_00001/imaging", "case_00001/other"]),
    "flat": ("aabb", ["Subj1_T1", "Subj1_FL", "Subj2_T1", "Subj2_FL"]),
    "folder per subject": ("aabb", ["Subj1/T1", "Subj1/FL", "Subj2/T1", "Subj2/FL"]),
    "folder per modality": ("aabb", ["t1/Subj1_T1", "fl/Subj1_FL", "t1/Subj2_T1", "fl/Subj2_FL"]),
    "numbers, flat": ("aabb", ["1001_T1w", "1001_FLAIR", "1002_T1w", "1002_FLAIR"]),
    "numbers, per subject": ("aabb", ["1001/brain", "1001/neck", "1002/brain", "1002/neck"]),
    "numbers, per modality": ("aabb", ["MR/0001", "CT/0001", "MR/0002", "CT/0002"]),
    "unknown modality": ("aabb", ["xyz/0001", "uvw/0001", "xyz/0002", "uvw/0002"]),
    "two digits": ("aabb", ["01/t1", "01/t2", "02/t1", "02/t2"]),
    "sessions": ("aab", ["P1/ses1/t1", "P1/ses2/t1", "P2/ses1/t1"]),
    "dates": ("aab", ["1001/20200101/brain", "1001/20210101/brain", "1002/20200101/brain"]),
    "train and test": ("aab", ["train/1001_T1", "test/1001_T2", "train/1002_T1"]),
    "one folder around all": ("aabb", [f"BraTS2021_Data/x{i}/{word}" for i in (1, 2) for word in ("t1", "t2")]),
    "ACDC": ("aab", ["patient001/patient001_4d", "patient001/patient001_frame01", "patient002/patient002_4d"]),
    "IXI": ("aabb", ["IXI002-Guys-0828-T1", "IXI002-Guys-0828-T2", "IXI012-HH-1211-T1", "IXI012-HH-1211-T2"]),
    "OASIS": ("aab", ["OAS30001_MR_d0129_T1w", "OAS30001_MR_d0757_T1w", "OAS30002_MR_d0001_T1w"]),
    "names": ("aabbcc", [f"{name}/{word}" for name in ("ann", "bob", "eve") for word in ("foo", "bar")]),
    "unknown words": ("aabb", ["S1_foo", "S1_bar", "S2_foo", "S2_bar"]),
    "eyes": ("aab", ["10_left", "10_right", "11_left"]),
    "BIDS": ("aab", ["sub-a/ses-1/anat/sub-a_ses-1_T1w", "sub-a/ses-2/anat/sub-a_ses-2_T1w", "sub-b/anat/sub-b_T1w"]),
    "one scan each": ("abc", ["head_000", "head_001", "head_002"]),
    "LiTS": ("abc", ["volume-0", "volume-1", "volume-2"]),
    "sites": ("abcd", ["site1/x001", "site1/x002", "site2/x003", "site2/x004"]),
    "BTCV": ("ab", ["img/img0001", "img/img0002"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scans_of_a_patient_are_together_and_those_of_others_apart(layout):
    letters, cases = LAYOUTS[layout]
    patients = find_patients(cases)
    for one, letter in zip(cases, letters, strict=True):
        for other, another in zip(cases, letters, strict=True):
            assert (patients[one] == patients[other]) == (letter == another), (one, other)


def test_a_large_folder_is_no_patient():
    cases = [f"ADNI{part}/x_{number}" for part in (1, 2) for number in range(60 * part, 60 * part + 60)]
    assert len({*find_patients(cases).values()}) == 120


def test_no_patient_trains_and_validates():
    cases = [f"Subj{i}_{word}" for i in range(20) for word in ("T1", "FL")]
    patients = find_patients(cases)
    split = split_cases([{"case": case, "patient": patients[case]} for case in cases], 0.3)
    assert {one["patient"] for one in split["training"]}.isdisjoint(one["patient"] for one in split["validation"])


def test_a_pattern_defines_patients():
    cases = ["a-x-1", "a-y-2", "b-x-3"]
    assert find_patients(cases, r"-(\w)-") == {"a-x-1": "x", "a-y-2": "y", "b-x-3": "x"}
    assert find_patients(cases, r"^\w") == {"a-x-1": "a", "a-y-2": "a", "b-x-3": "b"}
    with pytest.raises(InputError, match=r"patient_pattern: .* 1 without a match: b-x-3"):
        find_patients(cases, "a")
    with pytest.raises(InputError, match="patient_pattern: expected a regular expression"):
        find_patients(cases, "(")


def test_patients_are_described():
    assert describe_patients(["a", "b"]) == "2 patients, 1 scan each"
    assert describe_patients(["a", "b", "a"]) == "2 patients, 3 scans (a 2, b 1)"


def test_frames_of_a_patient_are_one_in_nnunet_and_decathlon_and_single_cases_keep_their_id(tmp_path):
    for i, frame in [(1, "01"), (1, "12"), (2, "01"), (3, "01")]:
        scan(tmp_path / "n" / f"imagesTr/patient00{i}_frame{frame}_0000.nii.gz")
        label_map(tmp_path / "n" / f"labelsTr/patient00{i}_frame{frame}.nii.gz")
        scan(tmp_path / "d" / f"imagesTr/patient00{i}_{frame}.nii.gz")
    listed = [f"imagesTr/{file.name}" for file in sorted((tmp_path / "d" / "imagesTr").iterdir())]
    write_json(tmp_path / "d" / "dataset.json", {"training": [{"image": name} for name in listed]})
    write_json(tmp_path / "n" / "dataset.json", {"channel_names": {"0": "MR"}})
    for name in "nd":
        patients = [case["patient"] for case in find_cases(tmp_path / name)]
        assert patients[0] == patients[1]
        assert len({*patients}) == 3
        assert patients[2] in {case["case"] for case in find_cases(tmp_path / name)}


def test_a_link_to_a_scan_is_of_its_patient(tmp_path):
    for name in ("a", "b", "c"):
        scan(tmp_path / f"{name}.nii.gz")
    (tmp_path / "x.nii.gz").symlink_to("a.nii.gz")
    (tmp_path / "y.nii.gz").hardlink_to(tmp_path / "b.nii.gz")
    (tmp_path / "z.nii.gz").symlink_to("x.nii.gz")
    patients = {case["case"]: case["patient"] for case in find_cases(tmp_path)}
    assert patients["a"] == patients["x"] == patients["z"]
    assert patients["b"] == patients["y"]
    assert len({*patients.values()}) == 3


def test_a_header_defines_the_patient_of_related_files():
    by_path = {"s1/dicom": "s1", "s1/s1": "s1", "s2/s2": "s2", "x/1": "x", "x/2": "x", "x/3": "x"}
    by_header = {"s1/dicom": "ID7", "x/1": "A", "x/2": "B"}
    assert list(join_headers(by_path, by_header).values()) == ["ID7", "ID7", "s2", "A", "B", "x"]


def test_eyes_in_folders_of_two_classes_are_of_one_patient_and_equal_numbers_are_not(tmp_path):
    for name in ("0/10_left", "2/10_right", "0/11_left", "2/1", "0/1"):
        image(tmp_path / f"{name}.png")
    reader = ClassFolders(Folder.open(tmp_path, "images"))
    patients = {case["case"]: case["patient"] for case in reader.cases()}
    assert patients["0/10_left"] == patients["2/10_right"]
    assert len({*patients.values()}) == 4
