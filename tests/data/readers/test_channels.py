"""Files of a case joined by patterns."""

from pathlib import Path

import pytest

from tools.data.cases import find_cases
from tools.utils.errors import InputError

CHANNELS = {"T1": "*_T1.nii.gz", "FL": "*_FL.nii.gz"}
LAYOUTS = {
    "flat": "{0}_{1}",
    "folder per subject": "{0}/{0}_{1}",
    "folder per modality": "{1}/{0}_{1}",
    "folders per subject and modality": "{0}/{1}/{0}_{1}",
    "folders per modality and subject": "{1}/{0}/{0}_{1}",
    "names that differ": "{0}/{1}/9{1}x_{1}",
    "sessions": "{0}/v1/{1}/{0}_{1}",
}


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_a_subject_are_joined_across_folders(tmp_path, layout):
    for name in ("S1", "S2", "S3"):
        for word in ("T1", "FL"):
            touch(tmp_path / f"{LAYOUTS[layout].format(name, word)}.nii.gz")
    cases = find_cases(tmp_path, CHANNELS)
    assert [case["patient"] for case in cases] == ["S1", "S2", "S3"]
    for case in cases:
        assert [path.endswith(f"_{word}.nii.gz") for path, word in zip(case["image"], CHANNELS, strict=True)] == [
            True
        ] * 2
        assert all(case["patient"] in path for path in case["image"])


def test_sessions_of_a_subject_are_apart(tmp_path):
    for session in ("v1", "v2"):
        for word in ("T1", "FL"):
            touch(tmp_path / word / f"S1_{session}_{word}.nii.gz")
            touch(tmp_path / "deep" / "S2" / session / word / f"{word}_{word}.nii.gz")
    cases = find_cases(tmp_path, CHANNELS)
    assert [case["case"] for case in cases] == ["S1_v1", "S1_v2", "deep/S2/v1", "deep/S2/v2"] or len(cases) == 4
    assert sorted(case["patient"] for case in cases) == ["S1", "S1", "S2", "S2"]
    for case in cases:
        assert len({("v1" in path, "v2" in path) for path in case["image"]}) == 1


def test_patterns_may_name_folders(tmp_path):
    for name in ("1", "2"):
        for word in ("t1", "fl"):
            touch(tmp_path / "x" / word / f"{name}.nii.gz")
    cases = find_cases(tmp_path, {"T1": "t1/*.nii.gz", "FL": "fl/*.nii.gz"})
    assert [case["image"] for case in cases] == [
        [str(tmp_path / f"x/{w}/{n}.nii.gz") for w in ("t1", "fl")] for n in "12"
    ]


def test_files_of_two_subjects_are_never_joined(tmp_path):
    touch(tmp_path / "S1/a_T1.nii.gz")
    touch(tmp_path / "S2/b_FL.nii.gz")
    with pytest.raises(InputError, match=r"S1/a lacks FL .*S2/b lacks T1"):
        find_cases(tmp_path, CHANNELS)
    for name in ("S3_v1_T1", "S3_v1_FL", "S3_v2_T1", "S3_v3_FL"):
        touch(tmp_path / "c" / f"{name}.nii.gz")
    for name in ("S1", "S2"):
        (tmp_path / name / f"{'a_T1' if name == 'S1' else 'b_FL'}.nii.gz").unlink()
    with pytest.raises(InputError, match=r"c/S3_v2 lacks FL .*c/S3_v3 lacks T1"):
        find_cases(tmp_path, CHANNELS)


def test_a_pattern_of_patients_joins_any_names(tmp_path):
    for name in ("abx_T1", "aby_FL", "cdx_T1", "cdy_FL"):
        touch(tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError, match="lacks"):
        find_cases(tmp_path, CHANNELS)
    cases = find_cases(tmp_path, CHANNELS, patient_pattern="^(..)")
    assert [case["patient"] for case in cases] == ["ab", "cd"]
