import numpy as np
import pytest
import torch
from PIL import Image

from tools.pretext.vdt.photographs import (
    Crop,
    LoadRGBd,
    RandResizedCropd,
    ResizedCenterCropd,
    resized_crop,
    sample_crop,
)
from tools.utils.errors import InputError


def read(path):
    return LoadRGBd()({"image": str(path)})["image"]


def ramp(height=9, width=7):
    y, x = np.mgrid[:height, :width]
    return np.stack([20 * y, 20 * x, 9 * x + 9 * y], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_colours_are_read_as_they_are(tmp_path, suffix):
    Image.fromarray(ramp()).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}")
    assert image.dtype == torch.uint8
    assert image.movedim(0, -1).equal(torch.from_numpy(ramp()))


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_other_colour_images_are_converted(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(ramp()).convert(mode).save(path)
    image = read(path)
    assert image.shape == (3, 9, 7)
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert image.movedim(0, -1).equal(torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_images_are_repeated_three_times(tmp_path, mode):
    Image.fromarray(ramp()[..., 0]).convert(mode).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.shape == (3, 9, 7)
    assert image[0].equal(image[1])
    assert image[0].equal(image[2])


def test_of_16_bits_the_upper_8_are_taken(tmp_path):
    deep = ramp()[..., 0].astype(np.uint16) * 256 + 77
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[1].equal(torch.from_numpy(ramp()[..., 0]))


def test_pixels_of_32_bits_are_refused_by_name(tmp_path):
    Image.fromarray(ramp()[..., 0].astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff: expected an image of 8 or 16 bits"):
        read(tmp_path / "a.tiff")


def test_a_damaged_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    with pytest.raises(InputError, match=r"a\.jpg"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("size", [(40, 60), (7, 300), (1, 1)])
def test_crops_are_inside_and_in_the_given_ranges(size):
    rng = np.random.RandomState(0)
    fractions, flips = [], 0
    for _ in range(500):
        (row, column), (rows, columns), flip = sample_crop(size, (0.08, 1.0), 4 / 3, 0.5, rng)
        assert 0 <= row <= size[0] - rows
        assert 0 <= column <= size[1] - columns
        assert rows >= 1 <= columns
        fractions.append(rows * columns / (size[0] * size[1]))
        flips += flip
        if size == (40, 60):
            assert 0.7 < columns / rows < 1.45
    assert 190 < flips < 310
    if size == (40, 60):
        assert min(fractions) < 0.12
        assert max(fractions) > 0.75


def test_a_crop_of_full_size_is_the_image():
    image = torch.from_numpy(ramp()).movedim(-1, 0)
    assert resized_crop(image, Crop((0, 0), (9, 7)), (9, 7)).equal(image)
    assert resized_crop(image, Crop((0, 0), (9, 7), flip=True), (9, 7)).equal(image.flip(2))
    assert resized_crop(image, Crop((2, 1), (4, 5)), (4, 5)).equal(image[:, 2:6, 1:6])


def test_the_same_seed_cuts_the_same():
    image = {"image": torch.from_numpy(ramp(40, 50)).movedim(-1, 0)}
    crop = RandResizedCropd(size=(12, 12))
    found = [crop.set_random_state(seed=seed)(image)["image"] for seed in (3, 3, 4)]
    assert found[0].shape == (3, 12, 12)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_the_middle_is_cut_without_distortion():
    y, x = torch.meshgrid(torch.arange(80) - 39.5, torch.arange(120) - 59.5, indexing="ij")
    disc = (255 * (x**2 + y**2 < 20**2)).to(torch.uint8).expand(3, -1, -1)
    middle = ResizedCenterCropd(size=(70, 70))({"image": disc})["image"]
    assert middle.shape == (3, 70, 70)
    rows, columns = (int((middle[0] > 127).any(axis).sum()) for axis in (1, 0))
    assert rows == columns == 40


@pytest.mark.parametrize("area", [(0, 1), (0.5, 0.2), (0.5, 1.5)])
def test_area_fractions_are_checked(area):
    with pytest.raises(InputError, match="crop_scale"):
        RandResizedCropd(scale=area)
