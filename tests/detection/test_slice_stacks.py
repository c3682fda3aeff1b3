import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from PIL import Image

from tools.data.cache.dataset import CachedDataset
from tools.detection.slice_stacks import LoadSliceStackd, build_stack_preprocessing, extract_stacks, stack_positions
from tools.detection.stack_resizing import ResizeStackd, resize_stacks
from tools.transforms.hashes import hash_cases
from tools.utils.errors import InputError, find_input_error

INTERVALS = [0.6, 1.25, 2.5, 5]
COUNTS = [1, 2, 9]
PAD = -123.675 / 58.395
RANDOM = np.random.default_rng(7)


def ramp(count=60):
    """Slice k has the constant value k."""
    return torch.arange(float(count))[:, None, None].expand(count, 2, 3).clone()


def folder(root, units=None, numbers=range(95, 120), key=109, digits=3, interval=5.0, **changes):
    """A case whose slice n has the value n in HU, or the given values."""
    place = root / "000001_01_01"
    place.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        values = np.full((6, 9), number) if units is None else units(number)
        Image.fromarray((values + 32768).astype(np.uint16)).save(place / f"{number:0{digits}d}.png")
    height, width = values.shape
    return {
        "case": f"000001_01_01/{key}",
        "patient": "000001",
        "image": str(place / f"{key:0{digits}d}.png"),
        "row": "DL_info.csv, line 2",
        "interval": interval,
        "spacing": 0.488,
        "first": min(numbers),
        "last": max(numbers),
        "height": height,
        "width": width,
        "boxes": [[1.0, 2.0, 5.0, 4.0]],
        "types": [3],
        "noisy": [0],
    } | changes


def noise(number):
    return np.random.default_rng(number).integers(-1100, 1300, (6, 9))


@pytest.mark.parametrize("num_slices", COUNTS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_slices_are_equidistant_and_clamped_to_the_ends(interval, num_slices):
    for key in (0, 4, 30, 59):
        places = stack_positions(key, 0, 59, interval, num_slices)
        [stack] = extract_stacks(ramp(), [places])
        before = (num_slices - 1) // 2
        expected = [min(max(key + p * 2.5 / interval, 0), 59) for p in range(-before, num_slices - before)]
        torch.testing.assert_close(stack[:, 0, 0], torch.tensor(expected), atol=1e-4, rtol=0)
        assert stack[before, 0, 0] == key
        assert stack.shape == (num_slices, 2, 3)


@pytest.mark.parametrize("num_slices", [1, 3, 9, 11])
@pytest.mark.parametrize("interval", INTERVALS)
def test_flipped_ct_gives_the_flipped_stack(interval, num_slices):
    volume = torch.from_numpy(RANDOM.normal(size=(40, 2, 3)))
    for key in (0, 3, 19, 39):
        [stack] = extract_stacks(volume, [stack_positions(key, 0, 39, interval, num_slices)])
        [turned] = extract_stacks(volume.flip(0), [stack_positions(39 - key, 0, 39, interval, num_slices)])
        torch.testing.assert_close(turned.flip(0), stack)


def test_slices_without_weight_are_not_needed():
    for interval, step in ((5, None), (2.5, 1), (1.25, 2), (0.5, 5), (2.5 / 3, 3), (0.1, 25), (2.5 / 7, 7)):
        places = stack_positions(500, 0, 1000, interval)
        assert all(
            (upper == lower) if not weight else (upper == lower + 1 and 0 < weight < 1)
            for lower, upper, weight in zip(*places, strict=True)
        )
        if step:
            assert places.lower == places.upper == [500 + step * p for p in range(-4, 5)]
    assert set(stack_positions(500, 490, 505, 1e-300).lower) == {490, 500, 505}
    assert set(stack_positions(10**30, 0, 10**30 + 2, 2.5).upper) <= set(range(10**30 - 4, 10**30 + 3))


def test_batched_stacks_equal_single_stacks():
    volume = torch.from_numpy(RANDOM.normal(size=(30, 4, 5)))
    places = [stack_positions(key, 0, 29, interval) for key, interval in ((0, 5), (7, 2), (14, 0.6), (29, 3))]
    before = volume.clone()
    batch = extract_stacks(volume, places)
    assert batch.shape == (4, 9, 4, 5)
    for one, stack in zip(places, batch, strict=True):
        assert torch.equal(extract_stacks(volume, [one])[0], stack)
    assert torch.equal(volume, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_slices": 0}, "num_slices: expected an integer of at least 1, found 0"),
        ({"num_slices": 2.5}, r"num_slices: .* found 2\.5"),
        ({"interval": 0}, "interval: expected a slice distance in mm above 0, found 0"),
        ({"interval": -5.0}, r"interval: .* found -5\.0"),
        ({"interval": float("inf")}, "interval: .* found inf"),
        ({"interval": float("nan")}, "interval: .* found nan"),
        ({"spacing": 0}, "slice_spacing: .* found 0"),
        ({"spacing": float("nan")}, "slice_spacing: .* found nan"),
        ({"key": 9}, "key slice: expected a number from 10 to 20, found 9"),
        ({"key": 21}, "from 10 to 20, found 21"),
        ({"first": 20, "last": 10}, "key slice: expected a number from 20 to 10"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        stack_positions(**({"key": 15, "first": 10, "last": 20, "interval": 5.0} | settings))


@pytest.mark.parametrize("num_slices", [1, 4, 9])
@pytest.mark.parametrize("interval", [1, 2, 3, 5])
def test_files_and_volume_give_the_same_stack(tmp_path, interval, num_slices):
    numbers = range(95, 120)
    case = folder(tmp_path, noise, numbers, interval=interval)
    sample = LoadSliceStackd("image", num_slices, 2.5)(case)
    volume = torch.from_numpy(np.stack([noise(number) for number in numbers])).float()
    expected = extract_stacks(volume, [stack_positions(109 - 95, 0, 24, interval, num_slices)])
    image = sample["image"]
    assert image.dtype == torch.float32
    torch.testing.assert_close(image.as_tensor(), expected)
    assert torch.equal(image[0, (num_slices - 1) // 2].as_tensor(), volume[14]), "the key slice as it is"
    assert image.meta["filename_or_obj"] == case["image"]
    assert image.pixdim.tolist() == pytest.approx([2.5, 0.488, 0.488])


def test_stored_values_are_read_exactly(tmp_path):
    values = np.arange(2**16).reshape(128, 512) - 32768
    image = LoadSliceStackd()(folder(tmp_path, lambda number: values, [7], key=7))["image"]
    assert image.shape == (1, 9, 128, 512), "rows stay rows"
    np.testing.assert_array_equal(image[0, 4], values)


def test_only_the_files_that_are_needed_are_read(tmp_path):
    needed = range(107, 112)
    case = folder(tmp_path, numbers=needed, first=50, last=200)
    torch.testing.assert_close(LoadSliceStackd()(case)["image"][0, :, 0, 0].as_tensor(), torch.linspace(107, 111, 9))


@pytest.mark.parametrize(("digits", "key"), [(3, 9), (5, 12), (1, 9), (2, 99)])
def test_names_are_padded_like_the_key_slice(tmp_path, digits, key):
    case = folder(tmp_path, numbers=range(key - 2, key + 3), key=key, digits=digits)
    assert LoadSliceStackd()(case)["image"][0, 8, 0, 0] == key + 2


def test_lesions_become_tensors(tmp_path):
    case = folder(tmp_path)
    sample = LoadSliceStackd()(case)
    assert [sample[name].dtype for name in ("boxes", "types", "noisy")] == [torch.float32, torch.int64, torch.bool]
    assert (sample["boxes"].tolist(), sample["types"].tolist(), sample["noisy"].tolist()) == (
        case["boxes"],
        [3],
        [False],
    )
    empty = LoadSliceStackd()(case | {"boxes": [], "types": [], "noisy": []})
    assert [tuple(empty[name].shape) for name in ("boxes", "types", "noisy")] == [(0, 4), (0,), (0,)]
    assert (
        not {"boxes", "types", "noisy"} & LoadSliceStackd()({k: v for k, v in case.items() if k[0] not in "btn"}).keys()
    )


def spoil(path, kind):
    values = RANDOM.integers(0, 65536, (6, 9), dtype=np.uint16)
    if kind == "missing":
        path.unlink()
    elif kind == "8 bits":
        Image.fromarray((values >> 8).astype(np.uint8)).save(path)
    elif kind == "colour":
        Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(path)
    elif kind == "turned":
        Image.fromarray(values.T.copy()).save(path)
    elif kind == "TIFF":
        Image.fromarray(values).save(path, format="TIFF")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.write_bytes({"empty": b"", "text": b"no image"}[kind])


@pytest.mark.parametrize("number", [109, 110])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "expected a slice around the key slice, found no such file"),
        ("8 bits", r"expected a 16-bit greyscale PNG .* found a PNG of mode L"),
        ("colour", "expected a 16-bit greyscale PNG .* found a PNG of mode RGB"),
        ("TIFF", "expected a 16-bit greyscale PNG .* found a TIFF of mode"),
        ("turned", r"expected 6 x 9 pixels \(height x width\), found 9 x 6"),
        ("cut", "expected a readable image"),
        ("empty", "expected a readable image"),
        ("text", "expected a readable image"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path, kind, message, number):
    case = folder(tmp_path)
    spoil(tmp_path / f"000001_01_01/{number}.png", kind)
    with pytest.raises(InputError, match=rf"{number}\.png \(DL_info\.csv, line 2\): {message}") as caught:
        LoadSliceStackd()(case)
    assert "\n" not in str(caught.value)
    del case["row"]
    with pytest.raises(InputError, match=rf"{number}\.png: {message}"):
        LoadSliceStackd()(case)


def test_cases_that_contradict_their_files(tmp_path, capsys):
    case = folder(tmp_path)
    with pytest.raises(
        InputError, match=r"109\.png \(DL_info.csv, line 2\): key slice: expected a number from 110 to 115"
    ):
        LoadSliceStackd()(case | {"first": 110, "last": 115})
    with pytest.raises(InputError, match=r"109\.png .*: interval: .* found 0"):
        LoadSliceStackd()(case | {"interval": 0})
    with pytest.raises(InputError, match="expected 512 x 512 pixels"):
        LoadSliceStackd()(case | {"height": 512, "width": 512})
    with pytest.raises(InputError, match=r"key\.png .*: expected a slice number as file name"):
        LoadSliceStackd()(case | {"image": str(tmp_path / "key.png")})
    LoadSliceStackd(num_slices=1)(case)
    assert "is constant (109)" in capsys.readouterr().out


def standardised(units):
    return ((units.clamp(-1024, 1050) + 1024) / 2074 * 255 - 123.675) / 58.395


def test_the_window_becomes_0_to_255():
    units = torch.tensor([[-5000.0, -1024], [1050, 4000]])
    fitted, scale = resize_stacks(units, 2)
    torch.testing.assert_close(fitted * 58.395 + 123.675, torch.tensor([[0.0, 0], [255, 255]]), atol=1e-4, rtol=0)
    assert scale == 1.0
    assert resize_stacks(torch.tensor([[13.0]]), 1)[0].item() * 58.395 + 123.675 == pytest.approx(127.5, abs=1e-4)
    dark, bright = resize_stacks(torch.tensor([[-160.0, 240.0]]), 2, (-160, 240))[0][0]
    assert (dark.item(), bright.item()) == pytest.approx((PAD, (255 - 123.675) / 58.395))


def test_stacks_of_the_right_size_are_not_resampled():
    units = torch.from_numpy(RANDOM.uniform(-1200, 1200, (2, 9, 33, 33)))
    before = units.clone()
    fitted, scale = resize_stacks(units, 33)
    assert scale == 1.0
    assert isinstance(scale, float)
    assert torch.equal(units, before)
    torch.testing.assert_close(fitted, standardised(units))
    narrow, _ = resize_stacks(units[..., :20], 33)
    assert torch.equal(narrow[..., :20], fitted[..., :20])
    torch.testing.assert_close(narrow[..., 20:].unique(), torch.tensor([PAD], dtype=torch.float64))


@pytest.mark.parametrize("size", [16, 31, 33, 50, 100])
def test_resizing_of_squares_equals_torch(size):
    units = torch.from_numpy(RANDOM.uniform(-1000, 1000, (3, 33, 33))).float()
    fitted, scale = resize_stacks(units, size)
    expected = F.interpolate(standardised(units)[None], (size, size), mode="bilinear", antialias=size < 33)[0]
    torch.testing.assert_close(fitted, expected, atol=1e-4, rtol=1e-4)
    assert scale == size / 33


@pytest.mark.parametrize("leading", [(), (1, 9), (4, 9), (2, 1, 3)])
@pytest.mark.parametrize("shape", [(20, 31), (31, 20), (24, 24), (1, 40)])
@pytest.mark.parametrize("size", [16, 24, 57])
def test_any_batch_and_shape(leading, shape, size):
    units = torch.from_numpy(RANDOM.uniform(-1000, 1000, (*leading, *shape)))
    fitted, scale = resize_stacks(units, size)
    assert fitted.shape == (*leading, size, size)
    assert fitted.is_contiguous()
    assert scale == size / max(shape)
    rows, columns = (max(1, round(edge * scale)) for edge in shape)
    for beyond in (fitted[..., rows:, :], fitted[..., columns:]):
        assert torch.allclose(beyond, torch.tensor(PAD, dtype=beyond.dtype))
    for one, alone in zip(fitted.reshape(-1, size, size), units.reshape(-1, *shape), strict=True):
        torch.testing.assert_close(resize_stacks(alone, size)[0], one)


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (101, 67), (80, 80)])
@pytest.mark.parametrize("size", [48, 96, 128, 200])
def test_scaled_boxes_follow_the_image_content(shape, size):
    for x1, y1, x2, y2 in ((10, 20, 30, 50), (0, 0, 15, 9), (shape[1] - 22, shape[0] - 12, shape[1], shape[0])):
        units = torch.full((1, 3, *shape), -1000.0)
        units[..., y1:y2, x1:x2] = 1000.0
        sample = ResizeStackd(size=size)({"image": units})
        share = (sample["image"][0, 1] - PAD) / (standardised(torch.tensor(1000.0)) - PAD)
        rows, columns = share.amax(1), share.amax(0)
        scale = sample["scale"]
        for profile, low, high in ((rows, y1, y2), (columns, x1, x2)):
            inside = (profile > 0.5).nonzero()[:, 0]
            assert abs(inside.min().item() - low * scale) <= 0.51
            assert abs(inside.max().item() + 1 - high * scale) <= 0.51


def test_affine_of_resized_stacks(tmp_path):
    loaded = LoadSliceStackd()(folder(tmp_path, noise))
    fitted = ResizeStackd(size=18)(loaded)["image"]
    assert isinstance(fitted, MetaTensor)
    assert fitted.pixdim.tolist() == pytest.approx([2.5, 0.244, 0.244])
    corners = [
        image.affine @ torch.tensor([0, -0.5, -0.5, 1.0]).to(image.affine) for image in (loaded["image"], fitted)
    ]
    torch.testing.assert_close(*corners)
    assert loaded["image"].pixdim.tolist() == pytest.approx([2.5, 0.488, 0.488]), "the input sample is unchanged"


@pytest.mark.parametrize("size", [0, -1, 512.0, True, "512"])
def test_invalid_sizes(size):
    for make in (lambda: ResizeStackd(size=size), lambda: build_stack_preprocessing(9, 2.5, size)):
        with pytest.raises(InputError, match="image_size: expected a positive integer"):
            make()


@pytest.mark.parametrize("window", [(50, 50), (1050, -1024), (0, float("inf")), (float("nan"), 1), (1,)])
def test_invalid_windows(window):
    with pytest.raises(InputError, match="window: expected two increasing values in HU"):
        ResizeStackd(window=window)


def test_preprocessing(tmp_path):
    case = folder(tmp_path, noise, part="test")
    sample = build_stack_preprocessing(9, 2.5, 18)(case)
    expected = {"image", "boxes", "types", "noisy", "scale", "height", "width", "case", "patient", "spacing", "hashes"}
    assert set(sample) - {"outside_window"} == expected
    assert not isinstance(sample["image"], MetaTensor)
    assert (tuple(sample["image"].shape), sample["scale"], len(sample["hashes"])) == ((1, 9, 18, 18), 2.0, 1)
    assert sample["boxes"].tolist() == case["boxes"], "in pixels of the original image"
    shown = build_stack_preprocessing(9, 2.5, 18, inference=True)(case)
    assert "hashes" not in shown
    assert shown["image"].meta["filename_or_obj"] == case["image"]
    assert torch.equal(shown["image"].as_tensor(), sample["image"])


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_stacks_are_cached_hashed_and_named_when_bad(tmp_path, cache):
    good, bad = folder(tmp_path / "a", noise), folder(tmp_path / "b", noise)
    preprocessing = build_stack_preprocessing(9, 2.5, 18)
    dataset = CachedDataset([good], preprocessing, cache=cache, cache_dir=tmp_path / "cache")
    assert dataset[0]["scale"] == 2.0
    assert dataset[0]["noisy"].dtype == torch.bool
    assert hash_cases([good], preprocessing)[0]["hashes"] == dataset.hashes[0]["hashes"]
    spoil(tmp_path / "b/000001_01_01/108.png", "cut")
    with pytest.raises(RuntimeError) as caught:
        preprocessing(bad)
    assert "108.png (DL_info.csv, line 2)" in str(find_input_error(caught.value))
