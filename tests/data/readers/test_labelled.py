import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tools.data.cases import channel_names, find_cases, find_labelled_cases
from tools.data.label_values import brain_tumour_labels, read_labels, resection_cavity_values
from tools.utils.errors import InputError

REAL = Path(__file__).parents[3] / "shared/data/hippocampus"
WORDS = {"_": ("flair", "t1", "t1ce", "t2", "seg"), "-": ("t2f", "t1n", "t1c", "t2w", "seg")}


def volume(path, values=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros((2, 2, 2), np.uint8)
    voxels.flat[: len(values)] = values
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)


def brats(root, mark, cases=("HGG/Brats18_A_1", "LGG/Brats18_B_1"), leave_out=()):
    for case in cases:
        for word in WORDS[mark]:
            if f"{case}{mark}{word}" not in leave_out:
                volume(root / case / f"{Path(case).name}{mark}{word}.nii.gz")
    return root


def decathlon(root, labels, count=3, **changes):
    pairs = [{"image": f"./imagesTr/c_{i}.nii.gz", "label": f"./labelsTr/c_{i}.nii.gz"} for i in range(count)]
    for path in [path for pair in pairs for path in pair.values()] + ["imagesTs/t_0.nii.gz"]:
        volume(root / path)
    content = {"labels": labels, "modality": {"0": "CT"}, "training": pairs, "test": ["./imagesTs/t_0.nii.gz"]}
    (root / "dataset.json").write_text(json.dumps(content | changes))
    return root


@pytest.mark.parametrize("mark", ["_", "-"])
def test_brats_folders_give_channels_in_one_order(tmp_path, mark):
    cases = find_labelled_cases(brats(tmp_path, mark))
    assert [case["case"] for case in cases] == ["HGG/Brats18_A_1", "LGG/Brats18_B_1"]
    for case in cases:
        words = [Path(path).name.removesuffix(".nii.gz").rpartition(mark)[2] for path in case["image"]]
        assert words == list(WORDS[mark][:4])
        assert case["label"].endswith(f"{mark}seg.nii.gz")
    assert channel_names(tmp_path) == ["FLAIR", "T1w", "t1gd", "T2w"]
    assert [{k: v for k, v in case.items() if k != "label"} for case in cases] == find_cases(tmp_path)


def test_brats_scans_without_labels_can_be_pretrained_on(tmp_path, capsys):
    root = brats(tmp_path, "_", leave_out=["LGG/Brats18_B_1_seg"])
    assert len(find_cases(root)) == 2
    assert len(find_labelled_cases(root)) == 1
    assert "images without a label map: 4 (LGG/Brats18_B_1" in capsys.readouterr().out


def test_some_contrasts_of_brats_scans_come_with_their_labels(tmp_path):
    root = brats(tmp_path, "_", leave_out=["LGG/Brats18_B_1_t1ce"])
    cases = find_labelled_cases(root, {"T2": "*_t2.nii.gz", "T1": "*_t1.nii.gz"})
    assert [Path(case["label"]).name for case in cases] == ["Brats18_A_1_seg.nii.gz", "Brats18_B_1_seg.nii.gz"]
    assert [len(case["image"]) for case in cases] == [2, 2]


def test_decathlon_pairs_and_labels(tmp_path, capsys):
    root = decathlon(tmp_path, {"0": "background", "1": "pancreas", "2": "cancer"})
    cases = find_labelled_cases(root)
    assert [case["case"] for case in cases] == ["imagesTr/c_0", "imagesTr/c_1", "imagesTr/c_2"]
    assert "images without a label map: 1 (imagesTs/t_0.nii.gz)" in capsys.readouterr().out
    assert [Path(case["label"]).name for case in cases] == ["c_0.nii.gz", "c_1.nii.gz", "c_2.nii.gz"]
    named = find_labelled_cases(root, {"CT": "c_*.nii.gz"})
    assert [case["label"] for case in named] == [case["label"] for case in cases]
    assert read_labels(root) == {"pancreas": 1, "cancer": 2}
    assert read_labels(root, 3) == {"pancreas": 1, "cancer": 2}
    with pytest.raises(InputError, match="num_classes: expected 3"):
        read_labels(root, 4)


def test_labels_the_other_way_round(tmp_path):
    assert read_labels(decathlon(tmp_path, {"background": 0, "liver": 1, "tumour": 3})) == {"liver": 1, "tumour": 3}


@pytest.mark.parametrize(
    "labels",
    [None, ["background"], {"zero": "background"}, {}, {"0": "none"}, {"1": "x", "2": "x"}, {"x": 1, "y": 1}],
)
def test_labels_that_are_none_are_refused(tmp_path, labels):
    with pytest.raises(InputError, match=r"dataset.json: expected 'labels'"):
        read_labels(decathlon(tmp_path, labels))


def test_a_missing_label_file_is_named(tmp_path):
    root = decathlon(tmp_path, {"0": "background", "1": "x"})
    (root / "labelsTr/c_1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"expected 3 labels, found 1 of them missing: labelsTr/c_1.nii.gz"):
        find_labelled_cases(root)


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("path", ["../x.nii.gz", "/x.nii.gz", 3])
def test_paths_elsewhere_are_refused(tmp_path, key, path):
    pair = {"image": "imagesTr/c_0.nii.gz", "label": "labelsTr/c_0.nii.gz"} | {key: path}
    root = decathlon(tmp_path, {"0": "background", "1": "x"}, training=[pair])
    with pytest.raises(InputError, match=f"expected each {key} as a path in its folder"):
        find_labelled_cases(root)


def test_the_numbers_of_tumour_parts_differ_between_data_sets(tmp_path):
    """The trap: 1 is oedema in the Decathlon, core in BraTS."""
    task01 = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    found = {
        "msd": brain_tumour_labels(decathlon(tmp_path / "msd", task01)),
        "2018": brain_tumour_labels(brats(tmp_path / "2018", "_")),
        "2023": brain_tumour_labels(brats(tmp_path / "2023", "-")),
    }
    assert found == {
        "msd": {"edema": 1, "core": 2, "enhancing": 3},
        "2018": {"edema": 2, "core": 1, "enhancing": 4},
        "2023": {"edema": 2, "core": 1, "enhancing": 3},
    }
    assert all(list(values) == ["edema", "core", "enhancing"] for values in found.values())


def labelled_brats(root, mark, *cases):
    """BraTS folders of cases ``(name, values in its label map)``."""
    for name, values in cases:
        for word in WORDS[mark]:
            volume(root / name / f"{name}{mark}{word}.nii.gz", values if word == "seg" else ())
    return root


@pytest.mark.parametrize(
    ("mark", "cases", "enhancing", "cavity"),
    [
        ("_", [("Brats18_A_1", (1, 2, 4))], 4, []),
        ("_", [("BraTS20_Training_001", (1, 2)), ("BraTS20_Training_002", (2,))], 4, []),
        ("_", [("BraTS2021_00000", (1, 2, 4)), ("BraTS2021_00002", (1, 2))], 4, []),
        ("_", [("BraTS2021_00000", (1, 2)), ("BraTS2021_00002", (1, 2, 3))], 3, []),
        ("-", [("BraTS-GLI-00005-000", (1, 2, 3)), ("BraTS-GLI-00006-000", ())], 3, []),
        ("-", [("BraTS-GLI-00005-100", (1, 2, 3, 4))], 3, [4]),
        ("-", [("BraTS-GLI-00005-100", (2, 4))], 3, [4]),
        ("-", [("BraTS-GLI-00005-100", (1, 2))], 3, [4]),
        ("-", [("a", (1, 2, 4)), ("b", (1, 2, 3, 4))], 3, [4]),
        ("_", [("a", (1, 2, 4)), ("b", (1, 2, 3, 4))], 3, [4]),
    ],
)
def test_each_brats_year_has_its_enhancing_tumour(tmp_path, mark, cases, enhancing, cavity, capsys):
    root = labelled_brats(tmp_path, mark, *cases)
    assert brain_tumour_labels(root) == {"edema": 2, "core": 1, "enhancing": enhancing}
    assert ("label 4, the resection cavity" in capsys.readouterr().out) == bool(cavity)
    assert resection_cavity_values(root) == cavity


@pytest.mark.parametrize(
    ("mark", "cases", "message"),
    [
        ("-", [("a", (1, 2, 4)), ("b", (1, 2))], "both possible"),
        ("-", [("BraTS-GLI-00005-000", (1, 2, 4)), ("BraTS-GLI-00006-000", (1, 2, 3))], "both possible"),
        ("_", [("a", (1, 2, 4)), ("b", (1, 2, 3))], "both possible"),
        ("-", [("BraTS-PED-00001-000", (1, 2, 3, 4))], "BraTS-PEDs has other label values"),
    ],
)
def test_ambiguous_brats_labels_are_refused_until_they_are_named(tmp_path, mark, cases, message):
    root = labelled_brats(tmp_path, mark, *cases)
    with pytest.raises(InputError, match=rf"{message}; add a dataset.json"):
        brain_tumour_labels(root)
    names = {"0": "background", "1": "NETC", "2": "SNFH", "3": "ET", "4": "RC"}
    (root / "dataset.json").write_text(json.dumps({"labels": names}))
    assert brain_tumour_labels(root) == {"edema": 2, "core": 1, "enhancing": 3}
    assert resection_cavity_values(root) == [4]
    assert len(find_labelled_cases(root)) == len(cases)


def test_a_damaged_label_map_is_left_to_the_preparation(tmp_path):
    root = labelled_brats(tmp_path, "_", ("a", ()), ("b", (1, 2, 3)))
    (root / "a/a_seg.nii.gz").write_bytes(b"damaged")
    assert brain_tumour_labels(root)["enhancing"] == 3


def test_other_structures_are_no_brain_tumour(tmp_path):
    with pytest.raises(InputError, match=r"expected labels of oedema.*found \{'pancreas': 1\}"):
        brain_tumour_labels(decathlon(tmp_path, {"0": "background", "1": "pancreas"}))


def test_images_beside_labels_without_a_list(tmp_path, capsys):
    for name in ("imagesTr/a", "imagesTr/b", "labelsTr/b", "labelsTr/c"):
        volume(tmp_path / f"{name}.nii.gz")
    assert [case["case"] for case in find_labelled_cases(tmp_path)] == ["imagesTr/b"]
    message = capsys.readouterr().out
    assert "label maps without an image: 1 (labelsTr/c.nii.gz)" in message
    assert "images without a label map: 1 (imagesTr/a.nii.gz)" in message
    assert read_labels(tmp_path, 3) == {"label_1": 1, "label_2": 2}
    with pytest.raises(InputError, match=r'dataset.json.*\{"labels": \{"0": "background".*--num_classes 3'):
        read_labels(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "x"}}')
    assert read_labels(tmp_path) == {"x": 1}, "what the message advises"
    assert [case["case"] for case in find_labelled_cases(tmp_path)] == ["imagesTr/b"]


def test_no_label_at_all(tmp_path):
    volume(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"expected .*Decathlon.*found 1 images and no"):
        find_labelled_cases(tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="the real scans are not beside the repository")
def test_real_hippocampus(capsys):
    cases = find_labelled_cases(REAL)
    assert len(cases) == 260
    assert all(Path(case["image"]).name == Path(case["label"]).name for case in cases)
    message = capsys.readouterr().out
    assert "hippocampus_010.nii.gz, labelsTr/hippocampus_281.nii.gz" in message
    assert "imagesTr/hippocampus_118" in message
