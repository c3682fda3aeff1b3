"""The Brain Imaging Data Structure."""

import pytest
from data.readers.layouts import bids, label_map, scan, write_json

from tools.data.cases import find_cases, find_labelled_cases
from tools.utils.errors import InputError


def ids(cases):
    return [case["case"].rpartition("/")[2] for case in cases]


def test_structural_scans_outside_of_derivatives(tmp_path, capsys):
    bids(tmp_path, 2)
    scan(tmp_path / "sub-00/ses-2/anat/sub-00_ses-2_FLAIR.nii.gz")
    scan(tmp_path / "sub-00/func/sub-00_task-rest_bold.nii.gz", (8, 8, 8, 5))
    scan(tmp_path / "derivatives/prep/sub-00/anat/sub-00_desc-preproc_T1w.nii.gz")
    scan(tmp_path / "sourcedata/raw.nii.gz")
    label_map(tmp_path / "sub-01/anat/sub-01_label-lesion_mask.nii.gz")
    cases = find_cases(tmp_path)
    assert ids(cases) == ["sub-00_T1w", "sub-00_ses-2_FLAIR", "sub-01_T1w"]
    assert [case["patient"] for case in cases] == ["sub-00", "sub-00", "sub-01"]
    message = capsys.readouterr().out
    for reason in (
        "BIDS derivatives: 3",
        "label maps by name: 1",
        "BIDS time series and diffusion series",
        "not named as in",
    ):
        assert reason in message
    bold = find_cases(tmp_path, {"bold": "*_bold.nii.gz"})
    assert ids(bold) == ["sub-00_task-rest"]


def test_series_are_read_where_there_is_nothing_else(tmp_path):
    for number in range(3):
        scan(tmp_path / f"sub-{number}/dwi/sub-{number}_dwi.nii.gz", (8, 8, 8, 5))
    assert len(find_cases(tmp_path)) == 3


def test_subjects_of_several_data_sets_are_apart(tmp_path):
    for name in ("ds1", "ds2"):
        bids(tmp_path / name, 2)
    cases = find_cases(tmp_path)
    assert [case["patient"] for case in cases] == ["ds1/sub-00", "ds1/sub-01", "ds2/sub-00", "ds2/sub-01"]
    labelled = find_labelled_cases(tmp_path)
    assert all(case["label"].startswith(str(tmp_path / case["patient"].split("/")[0])) for case in labelled)


def test_label_maps_fit_by_subject_session_and_run(tmp_path):
    for session in ("1", "2"):
        stem = f"sub-01_ses-{session}"
        scan(tmp_path / f"sub-01/ses-{session}/anat/{stem}_acq-x_T1w.nii.gz")
        label_map(tmp_path / f"derivatives/a/sub-01/ses-{session}/anat/{stem}_space-orig_dseg.nii.gz")
        label_map(tmp_path / f"derivatives/a/sub-01/ses-{session}/anat/{stem}_desc-brain_mask.nii.gz")
    for case in find_labelled_cases(tmp_path):
        session = case["case"].split("/")[1]
        assert f"/{session}/" in case["label"]
        assert case["label"].endswith("dseg.nii.gz")
    label_map(tmp_path / "derivatives/b/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz")
    with pytest.raises(InputError, match=r"expected one label map, found 2 "):
        find_labelled_cases(tmp_path)
    assert len(find_cases(tmp_path)) == 2


def test_contrasts_of_a_session_join(tmp_path):
    write_json(tmp_path / "dataset_description.json", {})
    for stem in ("sub-1/ses-1/anat/sub-1_ses-1", "sub-1/ses-2/anat/sub-1_ses-2", "sub-2/anat/sub-2"):
        scan(tmp_path / f"{stem}_T1w.nii.gz")
        scan(tmp_path / f"{stem}_FLAIR.nii.gz")
    cases = find_cases(tmp_path, {"T1": "*_T1w.nii.gz", "FLAIR": "*_FLAIR.nii.gz"})
    assert ids(cases) == ["sub-1_ses-1", "sub-1_ses-2", "sub-2"]
    assert [case["patient"] for case in cases] == ["sub-1", "sub-1", "sub-2"]


def test_one_file_named_so_makes_no_bids_data_set(tmp_path):
    scan(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    for name in "abc":
        scan(tmp_path / f"{name}.nii.gz")
    assert len(find_cases(tmp_path)) == 4


def test_equal_subjects_of_two_data_sets_are_two_patients(tmp_path):
    for name in ("ds001", "ds002", "visit1", "visit2"):
        scan(tmp_path / f"{name}/sub-01/anat/sub-01_T1w.nii.gz")
    patients = {case["case"].split("/")[0]: case["patient"] for case in find_cases(tmp_path)}
    assert patients["visit1"] == patients["visit2"]
    assert len({*patients.values()}) == 3
