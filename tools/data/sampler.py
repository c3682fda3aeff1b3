"""Which case is drawn at which step, and with which random numbers: functions of the seed and the step alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Cropd, RandCropByLabelClassesd, Randomizable
from monai.utils import MAX_SEED
from torch.utils.data import Dataset, Sampler

from tools.data.cache.backends import detach_storage
from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.utils.errors import InputError


def stable_seed(*parts: int) -> int:
    """A 32-bit seed from whole numbers, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


class ResumableBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of ``(case index, draw)`` for a whole run; one batch per optimizer step.

    Draws are numbered over the run: draw ``step · global batch + position``. Each pass over the cases is a permutation
    seeded by (seed, pass), cut to whole global batches so that no batch holds a case twice; a pass leaves out up to one
    global batch less one case, other ones every time. With fewer cases than a global batch, passes follow one another
    and a batch repeats cases. Ranks take slices of the global batch, so that two ranks with batch b see the
    batches of one with 2b.

    Set `start` to the first step to yield before iterating, to resume.

    Args:
        num_cases: number of cases.
        batch_size: draws per step and rank.
        steps: steps of the whole run.
        seed: seed of the run.
        rank: rank of this process.
        world_size: number of processes.

    Raises:
        InputError: no cases, or a batch size or number of steps below 1.
    """

    def __init__(
        self, num_cases: int, batch_size: int, steps: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        for name, value in (("number of cases", num_cases), ("batch_size", batch_size), ("number of steps", steps)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")
        self.num_cases = num_cases
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = 0

    def __len__(self) -> int:
        """Number of batches from `start` to the end of the run."""
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of this rank from step `start` on."""
        total = self.batch_size * self.world_size
        length = self.num_cases // total * total or self.num_cases
        current, order = -1, []
        for step in range(self.start, self.steps):
            first = step * total + self.rank * self.batch_size
            batch = []
            for draw in range(first, first + self.batch_size):
                if draw // length != current:
                    current = draw // length
                    order = self._order(current)
                batch.append((order[draw % length], draw))
            yield batch

    def _order(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(stable_seed(self.seed, number))
        return torch.randperm(self.num_cases, generator=generator).tolist()


class SeededTransformDataset(Dataset):
    """Random transforms whose result depends on the seed, the draw and the case only.

    Args:
        dataset: deterministic samples by case index.
        transform: a MONAI transform with `set_random_state`, e.g. a `Compose` of random crops and flips. What comes
            first and only picks voxels (MONAI's crops, and transforms with `picks_voxels`) cuts them out where and as a
            `CachedDataset` keeps them; the rest gets the types that were prepared. Of a `LazyDataset` it gets
            views, and what it makes of them is copied.
        seed: seed of the run.
    """

    def __init__(self, dataset: Dataset, transform: Callable[[dict[str, Any]], Any], seed: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self._pick, self._change = _parts(transform)

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Sample of a ``(case index, draw)`` that `ResumableBatchSampler` gave."""
        index, draw = key
        reseed(self.transform, stable_seed(self.seed, draw, index))
        kept = isinstance(self.dataset, CachedDataset)
        read = self.dataset.read if isinstance(self.dataset, LazyDataset) else self.dataset.__getitem__
        sample = None if kept else read(index)  # may be prepared just now, which needs the metadata
        tracked = get_track_meta()
        set_track_meta(False)  # prepared samples have none, and keeping it would take most of the time
        try:
            return self._change(self.dataset.cut(index, self._pick)) if kept else detach_storage(self.transform(sample))
        finally:
            set_track_meta(tracked)


def reseed(transform: Randomizable, seed: int) -> None:
    """Do what ``transform.set_random_state(seed)`` does, without its new generators, which take 0.2 ms each."""
    if "R" not in vars(transform):  # it still draws from the generator that all transforms share
        transform.set_random_state(seed=seed)
        return
    transform.R.seed(seed)
    parts = transform.transforms if isinstance(transform, Compose) else vars(transform).values()
    for part in parts:
        if isinstance(part, Randomizable):
            chained = isinstance(transform, Compose)  # each its own seed; what is inside a transform has the same
            reseed(part, int(transform.R.randint(MAX_SEED, dtype="uint32")) if chained else seed)


def _parts(transform: Callable[[dict[str, Any]], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The beginning of a transform that only picks voxels, whatever their type, and the rest, which may compute."""
    if not isinstance(transform, Compose):
        return (transform, _same) if _only_picks(transform) else (_same, transform)
    picks = itertools.takewhile(_only_picks, transform.transforms)
    count = sum(1 for _ in picks)
    return partial(transform, end=count), partial(transform, start=count)


def _only_picks(transform: Callable[[dict[str, Any]], Any]) -> bool:
    return isinstance(transform, Cropd | RandCropByLabelClassesd) or getattr(transform, "picks_voxels", False)


def _same(sample: Any) -> Any:
    return sample
