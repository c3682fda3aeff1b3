import numpy as np
import pytest
from PIL import Image

from tools.pretext.probe.cases import find_probe_cases, split_probe_cases
from tools.utils.errors import InputError


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


def cases(patients, each=1):
    return [
        {"case": f"{patient}/{k}", "patient": str(patient), "label": patient % 2}
        for patient in range(patients)
        for k in range(each)
    ]


def test_images_in_class_folders_and_of_a_table(tmp_path):
    for k in range(4):
        write_image(tmp_path / "classes" / "ab"[k % 2] / f"{k}.png")
        write_image(tmp_path / "grades" / f"{k}.png")
    (tmp_path / "grades" / "labels.csv").write_text("image,level\n" + "".join(f"{k},{k}\n" for k in range(4)))
    assert [case["label"] for case in find_probe_cases(tmp_path / "classes", False)] == [0, 0, 1, 1]
    assert [case["label"] for case in find_probe_cases(tmp_path / "grades", False)] == [0, 1, 2, 3]


@pytest.mark.parametrize("volumes", [True, False])
def test_a_missing_folder_is_named(tmp_path, volumes):
    with pytest.raises(InputError, match=r"^probe_dir .*nowhere: expected a folder of .* found nothing$"):
        find_probe_cases(tmp_path / "nowhere", volumes)


def test_no_labels_are_named(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"^probe_dir .*found 1 images and no label map of any$"):
        find_probe_cases(tmp_path, True)
    for k in range(5):
        write_image(tmp_path / "only" / f"{k}.png")
    with pytest.raises(InputError, match=r"^probe_dir .*expected images with a table.*folder per class"):
        find_probe_cases(tmp_path, False)


@pytest.mark.parametrize(
    ("names", "found"), [("ab", "2 of 2"), (["a/sub-1_x", "a/sub-1_y", "b/sub-1_x", "b/sub-1_y"], "4 of 1")]
)
def test_too_few_are_counted(tmp_path, names, found):
    for name in names:
        write_image(tmp_path / f"{name}.png")
    lines = [f"{name},{k % 2}\n" for k, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("image,level\n" + "".join(lines))
    with pytest.raises(InputError, match=rf"expected at least 4 cases of 2 patients with labels, found {found}"):
        find_probe_cases(tmp_path, False)


def test_halves_have_disjoint_patients_and_all_cases():
    for patients in (2, 3, 8, 9):
        first, second = split_probe_cases(cases(patients, each=3), 1000)
        assert len(first) + len(second) == 3 * patients
        assert not {case["patient"] for case in first} & {case["patient"] for case in second}
        assert 0 <= len(first) - len(second) <= 3


def test_a_limit_takes_of_both():
    assert [len(half) for half in split_probe_cases(cases(2, each=50), 16)] == [8, 8]


def test_halves_are_stratified():
    rare = [case | {"label": int(case["patient"] in "37")} for case in cases(10)]
    assert [sum(case["label"] for case in half) for half in split_probe_cases(rare, 100, "label")] == [1, 1]
