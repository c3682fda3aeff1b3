import os
import warnings
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from tools.transforms.hashes import HashVoxelsd
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd, ResizeShorterEdged
from tools.utils.errors import InputError

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
DEEP = RANDOM.integers(0, 65536, (6, 9), dtype=np.uint16)
ORIENTATION = 0x0112


def load(path):
    return LoadImage2Dd()({"image": str(path), "case": "a"})["image"]


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("a.png", COLOUR),
        ("a.BMP", COLOUR),
        ("a.tif", COLOUR),
        ("a.png", GREY),
        ("a.bmp", GREY),
        ("a.png", DEEP),
        ("a.tiff", DEEP),
        ("a.tif", DEEP.astype(np.int32) * 3),
        ("a.tif", DEEP.astype(np.float32) / 7),
        ("a.png", GREY > 100),
    ],
)
def test_pixels_are_kept(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    image = load(tmp_path / name)
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.meta["filename_or_obj"] == str(tmp_path / name)
    expected = pixels * 255 if pixels.dtype == bool else pixels
    np.testing.assert_array_equal(image, np.moveaxis(np.atleast_3d(expected), -1, 0).astype(np.float32))


def test_big_endian_tiff(tmp_path):
    image = Image.frombytes("I;16B", (9, 6), DEEP.astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load(tmp_path / "a.tif")[0], DEEP)


@pytest.mark.parametrize("kind", ["RGBA", "palette", "transparent palette", "LA"])
def test_plain_modes(tmp_path, kind):
    path, expected = tmp_path / "a.png", COLOUR
    image = Image.fromarray(COLOUR)
    if kind == "RGBA":
        image.putalpha(Image.fromarray(GREY))
        image.save(path)
    elif kind == "LA":
        image = Image.fromarray(GREY)
        image.putalpha(Image.fromarray(GREY[::-1].copy()))
        image.save(path)
        expected = GREY[..., None]
    else:
        image = image.quantize(7)
        expected = np.asarray(image.convert("RGB"))
        image.save(path, **({"transparency": bytes(range(7))} if "transparent" in kind else {}))
        assert Image.open(path).mode == "P"
    np.testing.assert_array_equal(load(path), np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "pixels"), [("a.png", COLOUR), ("a.tif", COLOUR), ("b.png", DEEP), ("b.tif", DEEP)])
def test_exif_orientation(tmp_path, name, pixels, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    expected = pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    np.testing.assert_array_equal(load(tmp_path / name), np.moveaxis(np.atleast_3d(expected), -1, 0))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_compressed_and_plain_tiff_are_rotated_once(tmp_path, mode, compression):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / "a.tif", exif=exif, compression=compression)
    turned = np.atleast_3d(np.rot90(np.asarray(image), -1))
    np.testing.assert_array_equal(load(tmp_path / "a.tif"), np.moveaxis(turned, -1, 0))


def test_a_camera_held_upright(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    ramp = np.arange(0, 240, 5, dtype=np.uint8) + np.zeros((32, 1), np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = load(tmp_path / "a.jpg")
    assert image.shape == (1, 48, 32)
    np.testing.assert_allclose(image[0], np.rot90(ramp, -1), atol=3)


@pytest.mark.parametrize("kind", ["corrupt", "truncated", "text", "empty", "missing", "folder", "pipe", "gif", "pages"])
def test_unreadable(tmp_path, kind):
    path = tmp_path / {"truncated": "bad.jpg", "pages": "bad.tif"}.get(kind, "bad.png")
    noise = Image.fromarray(RANDOM.integers(0, 256, (64, 64), dtype=np.uint8))
    if kind in ("text", "empty"):
        path.write_text("no image\n" if kind == "text" else "")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "pages":
        noise.save(path, save_all=True, append_images=[noise, noise])
    elif kind != "missing":
        noise.save(path, format="GIF" if kind == "gif" else None)
    if kind == "corrupt":
        content = bytearray(path.read_bytes())
        content[200:1200] = bytes(1000)
        path.write_bytes(content)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError) as error:
        load(path)
    message = str(error.value)
    expected = "one image, found 3 pages" if kind == "pages" else "a readable image, found "
    assert message.startswith(f"{path}: expected {expected}")
    assert "\n" not in message
    assert ("no PNG, JPEG, TIFF, BMP content" in message) == (kind in ("text", "empty", "gif"))


def test_pillows_limit_of_pixels_does_not_apply(tmp_path, monkeypatch):
    for suffix in ("png", "tif", "bmp"):
        Image.fromarray(COLOUR).save(tmp_path / f"a.{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(torch.equal(load(tmp_path / f"a.{one}"), load(tmp_path / "a.png")) for one in ("tif", "bmp"))
    assert Image.MAX_IMAGE_PIXELS == 1


def test_pillows_limit_of_pixels_returns_after_the_last_thread(tmp_path, monkeypatch):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with ThreadPool(6) as pool:
        assert len(pool.map(load, [tmp_path / "a.png"] * 300)) == 300
    assert Image.MAX_IMAGE_PIXELS == 1


def test_threads_read_what_one_reads(tmp_path):
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(RANDOM.integers(0, 256, (40, 30 + number, 3), dtype=np.uint8)).save(paths[-1])
    with ThreadPool(6) as pool:
        together = pool.map(load, paths)
    assert all(torch.equal(a, load(path)) for a, path in zip(together, paths, strict=True))


def check(image, **options):
    return CheckImage2Dd(**options)({"image": torch.as_tensor(image), "case": "c7"})


def test_check(tmp_path, capsys):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.png")
    with pytest.raises(
        InputError,
        match=r"a\.png: expected 1 channel\(s\), found 3 \(colour\); .*--in_channels 3",
    ):
        CheckImage2Dd(channels=1)({"image": load(tmp_path / "a.png")})
    with pytest.raises(InputError, match=r"b\.png: expected 3 channel\(s\), found 1 \(greyscale\); .*_channels 1"):
        CheckImage2Dd(channels=3)({"image": load(tmp_path / "b.png")})
    for shape in ((1, 1, 40), (3, 8, 0), (1, 4, 4, 4)):
        with pytest.raises(InputError, match=r"c7.*2 x 2"):
            check(np.zeros(shape))
    broken = np.stack([GREY, GREY]).astype(np.float32)
    broken[1, 0, :2], broken[1, 1, 0] = np.nan, np.inf
    with pytest.raises(InputError, match=r"c7.*2 NaN.*1 infinite.*channel 1"):
        check(broken)
    assert capsys.readouterr().out == ""
    check(np.full((1, 8, 8), 3.0), channels=1)
    assert "c7: channel 0 is constant (3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "size"), [((20, 31), (8, 12)), ((31, 20), (12, 8)), ((5, 4), (10, 8)), ((9, 9), (8, 8))]
)
def test_resize(shape, size):
    image = torch.rand(3, *shape)
    assert ResizeShorterEdged(resize_shorter_edge=8)({"image": image})["image"].shape == (3, *size)


def test_an_image_of_the_same_size_is_unchanged():
    image = MetaTensor(torch.rand(3, 8, 11))
    assert ResizeShorterEdged(resize_shorter_edge=8)({"image": image})["image"] is image


def test_resize_averages_and_keeps_positions():
    image = torch.zeros(1, 64, 64)
    image[..., ::2] = 1  # the finest stripes: sampled instead of averaged they would stay black and white
    small = ResizeShorterEdged(resize_shorter_edge=16)({"image": image})["image"]
    torch.testing.assert_close(small, torch.full((1, 16, 16), 0.5), atol=0.05, rtol=0)

    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(45.0), indexing="ij")
    small = ResizeShorterEdged(resize_shorter_edge=10)({"image": MetaTensor(torch.stack([rows, columns]))})["image"]
    place = small.affine @ torch.tensor([4.0, 7, 0, 1], dtype=small.affine.dtype)
    torch.testing.assert_close(small[:, 4, 7].as_tensor().double(), place[:2], atol=1e-4, rtol=0)


def test_resize_refuses():
    with pytest.raises(InputError, match="resize_shorter_edge: expected at least 1 pixel, found 0"):
        ResizeShorterEdged(resize_shorter_edge=0)
    with pytest.raises(InputError, match=r"strip.*\(2, 101\)"):
        ResizeShorterEdged(resize_shorter_edge=8)({"image": torch.rand(1, 2, 101), "case": "strip"})


def test_hash_of_an_image_does_not_depend_on_its_format(tmp_path):
    hashes = []
    for name in ("a.png", "b.bmp", "c.tif"):
        Image.fromarray(COLOUR).save(tmp_path / name)
        hashes.append(HashVoxelsd()({"image": load(tmp_path / name)})["hashes"])
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(hashes[0])) == 3
