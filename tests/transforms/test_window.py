"""Images that an intensity window makes constant, and scans that are not in Hounsfield units."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.data.window import describe_window
from tools.detection.slice_stacks import build_stack_preprocessing
from tools.segmentation.transforms import build_segmentation_preprocessing
from tools.transforms.preprocessing import build_preprocessing
from tools.transforms.window import CheckWindowd
from tools.utils.errors import InputError, find_input_error

WINDOW = [-150.0, 250.0]


def body(offset=0.0, seed=0):
    """A body of 40 HU in air, with some bone."""
    random = np.random.default_rng(seed)
    voxels = random.normal(-1000, 8, (24, 24, 24))
    voxels[6:18, 6:18, 6:18] = random.normal(40, 8, (12, 12, 12))
    voxels[8:10, 8:10, 8:10] = 700
    return (voxels + offset).round().astype(np.int16)


def cases(folder, *volumes):
    found = []
    for number, voxels in enumerate(volumes):
        nib.save(nib.Nifti1Image(voxels, np.diag([3.0, 3, 3, 1])), folder / f"c{number}.nii.gz")
        found.append({"case": f"c{number}", "image": str(folder / f"c{number}.nii.gz")})
    return found


def preprocessing(window=WINDOW, **options):
    return build_preprocessing([12, 12, 12], 1, 3.0, window, **options)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("voxels", [body().clip(None, -200), body(3000), body().clip(5, 5)])
@pytest.mark.parametrize("build", [build_preprocessing, build_segmentation_preprocessing])
def test_an_image_that_the_window_makes_constant_is_refused(tmp_path, build, voxels, inference):
    image, label = cases(tmp_path, voxels, body().clip(0, 0))
    options = {"label_values": [1]} if build is build_segmentation_preprocessing else {}
    chain = build([12, 12, 12], 1, 3.0, hu_window=WINDOW, inference=inference, **options)
    with pytest.raises(RuntimeError) as raised:  # MONAI's, around it
        chain({**image, "label": label["image"]})
    found = str(find_input_error(raised.value))
    assert image["image"] in found
    assert "window" in found


def test_a_constant_case_can_be_excluded(tmp_path, capsys):
    data = cases(tmp_path, body(), body(3000), body(seed=1))
    with pytest.raises(InputError, match=r"1 of 3 training cases.*\n.*c1.*window"):
        CachedDataset(data, preprocessing())
    assert [case["case"] for case in CachedDataset(data, preprocessing(), skip_bad=True).data] == ["c0", "c2"]


def test_a_channel_that_was_constant_before_may_stay():
    image = torch.stack([torch.zeros(4, 4, 4), torch.linspace(-300, 300, 64).reshape(4, 4, 4)])
    found = CheckWindowd("image", WINDOW)({"image": image})["outside_window"]
    assert found["below"] == pytest.approx((image < -150).float().mean())
    with pytest.raises(InputError):
        CheckWindowd("image", WINDOW)({"image": image[:1] * torch.ones(1)})


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_fraction_outside_is_reported_with_the_cases_that_differ(tmp_path, capsys, cache):
    data = cases(tmp_path, body(), body(seed=1), body(seed=2), body(1024))
    for _ in range(2):  # the second time from the disk
        CachedDataset(data, preprocessing(), cache, tmp_path / "cache")
        line, warning = [one for one in capsys.readouterr().out.splitlines() if "window" in one]
        assert [case for case in ("c0", "c1", "c2", "c3") if case in line] == ["c3"]
        assert [case for case in ("c0", "c1", "c2", "c3") if case in warning] == ["c3"]
        assert "1024" in warning


@pytest.mark.parametrize(
    ("offset", "window", "warned"),
    [
        (0, WINDOW, False),
        (1024, WINDOW, True),
        (1024, [-1000.0, 400.0], True),
        (0, [-1000.0, 400.0], False),
        (1024, [874.0, 1274.0], False),
        (1024, [0.0, 80.0], True),
        (0, [0.0, 80.0], False),
    ],
)
def test_hu_stored_with_an_offset_are_noticed(tmp_path, capsys, offset, window, warned):
    data = cases(tmp_path, body(offset), body(offset, 1))
    CachedDataset(data, preprocessing(window))
    found = capsys.readouterr().out
    assert ("HU + 1024" in found) == warned
    assert (json.dumps([end + 1024 for end in map(int, window)]) in found) == warned
    preprocessing(window, inference=True)(data[0])
    assert ("HU + 1024" in capsys.readouterr().out) == warned


def test_streamed_cases_are_noticed_once(tmp_path, capsys):
    dataset = LazyDataset(cases(tmp_path, body(1024), body(1024, 1)), preprocessing())
    assert "outside_window" not in dataset[0]
    assert "outside_window" not in dataset[1]
    assert capsys.readouterr().out.count("HU + 1024") == 1


@pytest.mark.parametrize("inference", [False, True])
def test_a_stack_of_slices_that_the_window_makes_constant_is_refused(tmp_path, inference):
    for number in range(1, 4):
        Image.fromarray(np.full((18, 18), 32768 + 1100 + number, np.uint16)).save(tmp_path / f"{number:03d}.png")
    case = {"case": "a", "image": str(tmp_path / "002.png"), "first": 1, "last": 3, "interval": 2.5}
    case |= {"spacing": 1.0, "height": 18, "width": 18}
    with pytest.raises(RuntimeError) as raised:  # MONAI's, around it
        build_stack_preprocessing(3, 2.5, 18, inference)(case)
    assert "window" in str(find_input_error(raised.value))
    assert "--hu_window" not in str(find_input_error(raised.value))  # a key that this bundle does not have


def test_nothing_is_reported_without_a_window(tmp_path, capsys):
    dataset = CachedDataset(cases(tmp_path, body(1024)), preprocessing(None))
    assert "window" not in capsys.readouterr().out
    assert "outside_window" not in dataset[0]


def test_many_cases_that_differ_are_counted():
    found = {
        f"c{n}": {"below": 0.5 * (n < 30), "above": 0.0, "lowest": -1000.0, "window": WINDOW, "adjustable": True}
        for n in range(45)
    }
    (line,) = describe_window(found, "training")
    assert "5 more" in line
    assert describe_window({}, "training") == []
