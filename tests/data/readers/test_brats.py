import pytest

from tools.data.cases import channel_names, find_cases
from tools.utils.errors import InputError

WORDS = {"_": ("flair", "t1", "t1ce", "t2", "seg"), "-": ("t2f", "t1n", "t1c", "t2w", "seg")}


def scan(folder, name, mark="_", words=None, suffix=".nii.gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for word in words or WORDS[mark]:
        (folder / f"{name}{mark}{word}{suffix}").write_bytes(b"")


def ids(cases):
    return [case["case"] for case in cases]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scans_in_one_folder_are_those_in_folders_of_their_own(tmp_path, suffix):
    for name in ("b", "a"):
        scan(tmp_path / "flat", name, suffix=suffix)
        scan(tmp_path / "apart" / name, name, suffix=suffix)
    flat, apart = find_cases(tmp_path / "flat"), find_cases(tmp_path / "apart")
    assert ids(flat) == ids(apart) == ["a", "b"]
    assert all(len(case["image"]) == 4 and not any("seg" in path for path in case["image"]) for case in flat + apart)


@pytest.mark.parametrize("mark", ["_", "-"])
def test_a_missing_contrast_is_named(tmp_path, mark):
    words = WORDS[mark]
    scan(tmp_path / "HGG/a", "a", mark)
    scan(tmp_path / "LGG/b", "b", mark, words[:2] + words[3:])
    with pytest.raises(InputError, match=f"found LGG/b without {mark}{words[2]};"):
        find_cases(tmp_path)


def test_timepoints_are_of_one_patient(tmp_path):
    names = ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000")
    for name in names:
        scan(tmp_path / name, name, "-")
    cases = find_cases(tmp_path)
    assert ids(cases) == list(names)
    assert [case["patient"] for case in cases] == ["BraTS-GLI-00005"] * 2 + ["BraTS-GLI-00006"]


def test_patients_of_the_earlier_challenges_have_one_scan(tmp_path):
    for name in ("BraTS2021_00000", "Brats18_TCIA01_1"):
        scan(tmp_path / name, name)
    assert [case["patient"] for case in find_cases(tmp_path)] == ["BraTS2021_00000", "Brats18_TCIA01_1"]


def test_three_contrasts_are_no_brats(tmp_path):
    scan(tmp_path / "a", "a", words=("flair", "t1", "t2"))
    assert ids(find_cases(tmp_path)) == ["a/a_flair", "a/a_t1", "a/a_t2"]
    assert channel_names(tmp_path) is None


def test_patterns_stand_before_the_challenge(tmp_path):
    scan(tmp_path / "a", "a")
    patterns = {"T2": "*_t2.nii.gz"}
    assert [case["image"] for case in find_cases(tmp_path, patterns)] == [[str(tmp_path / "a" / "a_t2.nii.gz")]]
    assert channel_names(tmp_path, patterns) == ["T2"]


def test_volumes_without_a_scan_are_reported(tmp_path, capsys):
    scan(tmp_path / "a", "a")
    assert find_cases(tmp_path)
    assert "label maps by name: 1 (a/a_seg.nii.gz)" in capsys.readouterr().out
    scan(tmp_path / "more", "x", words=["swi"])
    assert ids(find_cases(tmp_path)) == ["a"]
    assert "not named as in BraTS: 1 (more/x_swi.nii.gz)" in capsys.readouterr().out


def test_a_contrast_stored_twice_is_refused(tmp_path):
    scan(tmp_path / "a", "a")
    scan(tmp_path / "a", "a", words=["t1"], suffix=".nii")
    with pytest.raises(InputError, match=r"a_t1\.nii.*expected one file"):
        find_cases(tmp_path)
