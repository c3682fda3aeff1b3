"""The raw layout of nnU-Net."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.readers.layouts import image, label_map, nnunet, scan, write_json
from PIL import Image

from tools.data.cases import channel_names, find_cases, find_images, find_labelled_cases, image_channels
from tools.data.label_values import brain_tumour_labels, read_labels
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd
from tools.utils.errors import InputError


def names(paths):
    return [Path(path).name for path in paths]


def test_channels_and_labels(tmp_path, capsys):
    nnunet(tmp_path)
    scan(tmp_path / "imagesTs/t_0000.nii.gz")
    scan(tmp_path / "imagesTs/t_0001.nii.gz")
    cases = find_labelled_cases(tmp_path)
    assert [case["case"] for case in cases] == ["imagesTr/c_0", "imagesTr/c_1", "imagesTr/c_2"]
    assert names(cases[1]["image"]) == ["c_1_0000.nii.gz", "c_1_0001.nii.gz"]
    assert names(case["label"] for case in cases) == ["c_0.nii.gz", "c_1.nii.gz", "c_2.nii.gz"]
    assert "images without a label map: 2 (imagesTs/t_0000.nii.gz" in capsys.readouterr().out
    assert channel_names(tmp_path) == ["T1", "FLAIR"]
    assert read_labels(tmp_path) == {"organ": 1}
    assert len(find_cases(tmp_path)) == 4
    assert [len(case["image"]) for case in find_labelled_cases(tmp_path, {"FLAIR": "*_0001.nii.gz"})] == [1, 1, 1]


def test_without_a_dataset_file_labels_determine_the_channels(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").unlink()
    assert [len(case["image"]) for case in find_labelled_cases(tmp_path)] == [2, 2, 2]
    assert channel_names(tmp_path) is None
    assert read_labels(tmp_path, 2) == {"label_1": 1}


def test_the_first_version_lists_images_without_their_channel(tmp_path):
    training = [{"image": f"./imagesTr/c_{i}.nii.gz", "label": f"./labelsTr/c_{i}.nii.gz"} for i in range(3)]
    content = {"modality": {"0": "T1", "1": "FLAIR"}, "labels": {"0": "background", "1": "organ"}, "training": training}
    nnunet(tmp_path)
    write_json(tmp_path / "dataset.json", content)
    assert [len(case["image"]) for case in find_labelled_cases(tmp_path)] == [2, 2, 2]
    assert channel_names(tmp_path) == ["T1", "FLAIR"]


def test_a_decathlon_whose_names_end_in_four_digits_is_one(tmp_path):
    for number in range(3):
        scan(tmp_path / f"imagesTr/c_{number:04d}.nii.gz")
    training = [{"image": f"imagesTr/c_{number:04d}.nii.gz"} for number in range(3)]
    write_json(tmp_path / "dataset.json", {"modality": {"0": "CT"}, "training": training})
    assert len(find_cases(tmp_path)) == 3


@pytest.mark.parametrize(
    ("change", "found"),
    [("missing", r"expected 2 channels .*T1, FLAIR.*none at imagesTr/c_1_0001"), ("more", r"found more: c_1_0002")],
)
def test_cases_with_other_channels_are_refused(tmp_path, change, found):
    nnunet(tmp_path)
    if change == "missing":
        (tmp_path / "imagesTr/c_1_0001.nii.gz").unlink()
    else:
        scan(tmp_path / "imagesTr/c_1_0002.nii.gz")
    with pytest.raises(InputError, match=found):
        find_cases(tmp_path)


def test_regions_become_the_structures_they_consist_of(tmp_path):
    regions = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    nnunet(tmp_path, labels=regions, regions_class_order=[1, 2, 3])
    assert read_labels(tmp_path) == {
        "whole tumor without tumor core and enhancing tumor": 1,
        "tumor core without enhancing tumor": 2,
        "enhancing tumor": 3,
    }
    assert brain_tumour_labels(tmp_path) == {"edema": 1, "core": 2, "enhancing": 3}


@pytest.mark.parametrize(
    "labels",
    [{"a": [1, 2]}, {"a": [1], "ignore": 2}, {"a": ["1"]}, {"a": 1, "ignore": 2}, {"a": 1, "b": 1}, {}],
)
def test_labels_that_cannot_be_trained_on_are_refused(tmp_path, labels):
    nnunet(tmp_path, labels={"background": 0} | labels)
    with pytest.raises(InputError, match=r"dataset\.json: expected"):
        read_labels(tmp_path)
    assert len(find_cases(tmp_path)) == 3


def test_a_byte_order_mark_is_skipped(tmp_path):
    nnunet(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert channel_names(tmp_path) == ["T1", "FLAIR"]


def test_files_of_other_names_are_counted(tmp_path, capsys):
    nnunet(tmp_path)
    label_map(tmp_path / "labelsTr/extra.nii.gz")
    scan(tmp_path / "imagesTr/odd.nii.gz")
    assert len(find_labelled_cases(tmp_path)) == 3
    message = capsys.readouterr().out
    assert "label maps without an image: 1 (labelsTr/extra.nii.gz)" in message
    assert "not named as in nnU-Net: 1 (imagesTr/odd.nii.gz)" in message
    assert json.loads((tmp_path / "dataset.json").read_text())["numTraining"] == 3


def test_values_of_labels_may_be_text(tmp_path):
    nnunet(tmp_path, labels={"background": "0", "organ": "2", "3": 1})
    assert read_labels(tmp_path) == {"3": 1, "organ": 2}


def write_images(root, count=3, channels=2):
    for i in range(count):
        for channel in range(channels):
            root.joinpath("imagesTr").mkdir(exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 255, (8, 9)).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"imagesTr/c_{i}_{channel:04d}.png")
        image(root / f"labelsTr/c_{i}.png")
    names = {str(channel): name for channel, name in zip(range(channels), ("red", "infrared"), strict=False)}
    write_json(root / "dataset.json", {"channel_names": names, "labels": {"background": 0, "v": 1}})


def test_channels_of_images_make_one_case(tmp_path):
    write_images(tmp_path)
    cases = find_images(tmp_path)
    assert [case["case"] for case in cases] == ["imagesTr/c_0", "imagesTr/c_1", "imagesTr/c_2"]
    assert [names(case["image"]) for case in cases][1] == ["c_1_0000.png", "c_1_0001.png"]
    assert image_channels(tmp_path) == ["red", "infrared"]
    loaded = CheckImage2Dd(channels=2)(LoadImage2Dd()(cases[1]))
    assert loaded["image"].shape == (2, 8, 9)
    image(tmp_path / "imagesTr/c_1_0001.png")
    with pytest.raises(InputError, match=r"c_1_0001\.png: expected one channel .* found 3"):
        LoadImage2Dd()(cases[1])
    (tmp_path / "imagesTr/c_2_0001.png").unlink()
    with pytest.raises(InputError, match="none at imagesTr/c_2_0001;"):
        find_images(tmp_path)


def test_images_of_one_channel_are_images(tmp_path):
    write_images(tmp_path, channels=1)
    assert [case["case"] for case in find_images(tmp_path)] == [f"imagesTr/c_{i}_0000" for i in range(3)]
    assert image_channels(tmp_path) == ["grey"]
