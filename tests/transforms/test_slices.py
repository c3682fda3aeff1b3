import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandSpatialCropd

from tools.data.sampler import SeededTransformDataset
from tools.transforms.preprocessing import build_random_crop
from tools.transforms.slices import RandSliced
from tools.utils.errors import InputError

VOLUME = torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))


def draw(volume, seed, axis=0):
    transform = RandSliced(slice_axis=axis)
    transform.set_random_state(seed=seed)
    return transform({"image": volume})["image"], transform.index


@pytest.mark.parametrize(("axis", "size"), [(0, (6, 7)), (1, (5, 7)), (2, (5, 6))])
def test_a_slice_is_a_view_of_the_volume(axis, size):
    image, index = draw(VOLUME, 3, axis)
    assert image.shape == (2, *size)
    assert torch.equal(image, VOLUME.select(1 + axis, index))
    assert image.untyped_storage().data_ptr() == VOLUME.untyped_storage().data_ptr()


def test_every_slice_is_drawn_equally_often():
    transform = RandSliced(slice_axis=1)
    transform.set_random_state(seed=0)
    found = torch.tensor([transform({"image": VOLUME}) and transform.index for _ in range(3000)]).bincount(minlength=6)
    assert (found - 500).abs().max() < 100


def test_slices_without_content_are_ignored():
    volume = VOLUME.clone()
    volume[:, :3] = torch.tensor([0.5, -2.0])[:, None, None, None]  # constant, another value in each channel
    volume[0, 3] = 0  # one channel is left
    assert {draw(volume, seed)[1] for seed in range(60)} == {3, 4}


def test_the_one_slice_with_content_is_found_and_none_is_no_error():
    volume = torch.zeros(1, 200, 4, 4)
    assert draw(volume, 0)[0].shape == (1, 4, 4)
    volume[0, 2, 1, 1] = 1
    assert {draw(volume, seed)[1] for seed in range(20)} == {2}


def test_all_keys_have_the_same_slice_and_plain_tensors():
    transform = RandSliced(["image", "other"], 2)
    sample = transform({"image": MetaTensor(VOLUME), "other": VOLUME + 1, "case": "a"})
    assert type(sample["image"]) is torch.Tensor
    assert torch.equal(sample["image"] + 1, sample["other"])
    assert sample["case"] == "a"


def test_the_random_state_determines_the_slice():
    for transform in (RandSliced(slice_axis=1), build_random_crop([3, 4], slice_axis=1)):
        found = []
        for seed in (1, 2, 1):
            transform.set_random_state(seed=seed)
            found.append([transform({"image": VOLUME})["image"].clone() for _ in range(4)])
        assert all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))


def test_draws_depend_on_seed_draw_and_case_alone():
    samples = [{"image": VOLUME}, {"image": VOLUME.flip(1)}]
    crop = build_random_crop([3, 4], slice_axis=0)
    assert isinstance(crop, Compose)
    one, two = (SeededTransformDataset(samples, build_random_crop([3, 4], slice_axis=0), 5) for _ in range(2))
    keys = [(0, 3), (1, 3), (0, 9)]
    forwards = [one[key]["image"] for key in keys]
    backwards = [two[key]["image"] for key in keys[::-1]][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert {tuple(image.shape) for image in forwards} == {(2, 3, 4)}


def test_crop_without_slices_is_monais():
    crop, stock = build_random_crop([3, 4, 5]), RandSpatialCropd("image", roi_size=[3, 4, 5], random_size=False)
    for transform in (crop, stock):
        transform.set_random_state(seed=7)
    assert torch.equal(crop({"image": VOLUME})["image"], stock({"image": VOLUME})["image"])
    assert build_random_crop([3, 4])({"image": VOLUME[:, 0]})["image"].shape == (2, 3, 4)


@pytest.mark.parametrize("axis", [3, -1, "2", True, None])
def test_axes_refused(axis):
    with pytest.raises(InputError, match=r"slice_axis: expected .*0, 1 or 2"):
        RandSliced(slice_axis=axis)
