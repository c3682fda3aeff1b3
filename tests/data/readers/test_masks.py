"""Masks among 2D images."""

import numpy as np
import pytest
from data.readers.layouts import class_folders, image
from PIL import Image

from tools.data.annotated import find_classified_images
from tools.data.cases import find_images

RANDOM = np.random.default_rng(0)


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(path)


def mask(path, mode="L", value=255):
    pixels = np.zeros((48, 64), np.uint8)
    pixels[8:30, 10:40] = value
    save(path, pixels, mode)


def ids(root, **options):
    return [case["case"] for case in find_images(root, **options)]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_are_found_by_their_pixels(tmp_path, mode, suffix, capsys):
    for i in range(3):
        image(tmp_path / f"x/{i}.jpg")
        mask(tmp_path / f"y/{i}{suffix}", mode)
    assert ids(tmp_path) == ["x/0", "x/1", "x/2"]
    assert "label maps by content" in capsys.readouterr().out
    assert len(ids(tmp_path, include_label_maps=True)) == 6


def test_an_empty_mask_among_masks_is_one(tmp_path):
    for i in range(10):
        image(tmp_path / f"x/{i}.png")
        mask(tmp_path / f"y/{i}.png", value=0 if i == 4 else 255)
    assert ids(tmp_path) == [f"x/{i}" for i in range(10)]


def test_every_mask_of_many_is_found(tmp_path):
    for i in range(100):
        mask(tmp_path / f"y/{i}.png")
    image(tmp_path / "x.png")
    assert ids(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", ["constant", "noise", "smooth", "deep", "damaged"])
def test_images_of_few_or_unreadable_pixels_are_no_masks(tmp_path, kind):
    ramp = np.broadcast_to(np.arange(64) * 4, (48, 64))
    pixels = {
        "constant": np.full((48, 64), 7, np.uint8),
        "noise": RANDOM.integers(0, 4, (48, 64)).astype(np.uint8),
        "smooth": ramp.astype(np.uint8),
        "deep": (RANDOM.random((48, 64)) * 40000).astype(np.uint16),
        "damaged": np.zeros((48, 64), np.uint8),
    }
    for i in range(3):
        save(tmp_path / f"{i}.png", pixels[kind])
        if kind == "damaged":
            (tmp_path / f"{i}.png").write_bytes(b"no image")
    assert ids(tmp_path) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "name",
    [
        "2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.jpg",
        "training/1st_manual/21_manual1.jpg",
        "Image_01L_1stHO.jpg",
        "ISIC_0000001_superpixels.jpg",
    ],
)
def test_names_of_published_masks(tmp_path, name):
    image(tmp_path / name)
    image(tmp_path / "a.jpg")
    assert ids(tmp_path) == ["a"]


def test_masks_beside_the_images_of_a_class_are_no_images(tmp_path, capsys):
    for i in range(1, 4):
        for kind in ("benign", "malignant"):
            image(tmp_path / kind / f"{kind} ({i}).png")
            mask(tmp_path / kind / f"{kind} ({i})_mask.png")
            mask(tmp_path / kind / f"{kind} ({i})_mask_1.png")
    assert {case["class"] for case in find_classified_images(tmp_path)} == {"benign", "malignant"}
    assert len(find_classified_images(tmp_path)) == 6
    assert "label maps by name: 12" in capsys.readouterr().out


def test_a_class_of_masked_faces_is_one(tmp_path):
    class_folders(tmp_path, 4)
    for i in range(3):
        image(tmp_path / "mask" / f"mask_{i}.png")
    assert sum(case["class"] == "mask" for case in find_classified_images(tmp_path)) == 3
