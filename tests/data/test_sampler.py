import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandAffined, RandFlipd, RandGaussianNoised, Randomizable, RandSpatialCropd
from torch.utils.data import DataLoader

from tools.data.sampler import ResumableBatchSampler, SeededTransformDataset, reseed
from tools.segmentation.transforms import build_segmentation_crops
from tools.transforms.preprocessing import build_random_crop
from tools.utils.errors import InputError


def test_passes_hold_every_case_once():
    batches = list(ResumableBatchSampler(10, 3, 30, seed=1))
    assert len(batches) == 30
    assert [draw for batch in batches for _, draw in batch] == list(range(90))
    for number in range(10):
        cases = [index for batch in batches[3 * number : 3 * number + 3] for index, _ in batch]
        assert len(set(cases)) == 9
    counts = np.bincount([index for batch in batches for index, _ in batch])
    assert counts.min() >= 7
    assert list(ResumableBatchSampler(10, 3, 30, seed=2)) != batches


def test_fewer_cases_than_a_batch():
    draws = [index for batch in ResumableBatchSampler(3, 4, 6, seed=0) for index, _ in batch]
    assert all(sorted(draws[i : i + 3]) == [0, 1, 2] for i in range(0, 24, 3))


@pytest.mark.parametrize("cases", [3, 7, 40])
def test_the_global_batch_is_divided_among_ranks(cases):
    one = list(ResumableBatchSampler(cases, 6, 12, seed=5))
    ranks = [list(ResumableBatchSampler(cases, 2, 12, seed=5, rank=rank, world_size=3)) for rank in range(3)]
    assert [[key for part in parts for key in part] for parts in zip(*ranks, strict=True)] == one


def test_resume():
    whole, rest = ResumableBatchSampler(5, 2, 20, seed=3), ResumableBatchSampler(5, 2, 20, seed=3)
    rest.start = 13
    assert list(rest) == list(whole)[13:]
    assert len(rest) == 7


def test_refused():
    with pytest.raises(InputError, match="batch_size"):
        ResumableBatchSampler(5, 0, 1, seed=0)


class Cases(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"image": torch.arange(12.0**3).reshape(1, 12, 12, 12) + 1000 * index}


def loader(workers, start=0):
    random = Compose([RandSpatialCropd("image", (4, 4, 4), random_size=False), RandFlipd("image", prob=0.5)])
    sampler = ResumableBatchSampler(6, 2, 9, seed=4)
    sampler.start = start
    return DataLoader(SeededTransformDataset(Cases(), random, seed=4), batch_sampler=sampler, num_workers=workers)


def test_samples_depend_on_draw_and_case_only():
    alone = [batch["image"] for batch in loader(0)]
    assert all(torch.equal(a, b["image"]) for a, b in zip(alone, loader(2), strict=True))
    assert all(torch.equal(a, b["image"]) for a, b in zip(alone[5:], loader(0, start=5), strict=True))
    corners = {tuple(image.flatten()[:1].tolist()) for batch in alone for image in batch}
    assert len(corners) > 12


def generators(transform):
    """States of all generators in a transform."""
    parts = transform.transforms if isinstance(transform, Compose) else vars(transform).values()
    inner = [state for part in parts if isinstance(part, Randomizable) for state in generators(part)]
    return [transform.R.get_state()[1].tolist(), *inner]


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_random_crop((8, 8, 8)),
        lambda: build_random_crop((8, 8), slice_axis=1),
        lambda: build_segmentation_crops((8, 8, 8), 2),
        lambda: Compose([RandAffined("image", prob=1.0), Compose([RandFlipd("image"), RandGaussianNoised("image")])]),
    ],
)
def test_reseeding_is_setting_the_random_state(build):
    one, other = build(), build()
    for seed in (0, 7, 2**32 - 1):
        reseed(one, seed)
        one.R.rand(), other.set_random_state(seed=seed).R.rand()  # used in between
        assert generators(one) == generators(other)
    assert len(generators(one)) > 1
