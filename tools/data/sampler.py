"""Resumable sampling and seeded random transforms, which depend on the seed and the step only."""

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

from tools.data.cache.dataset import CachedDataset
from tools.data.cache.samples import detach_storage
from tools.data.lazy import LazyDataset
from tools.utils.errors import InputError


def stable_seed(*parts: int) -> int:
    """Return a 32-bit seed from integers, equal on all machines and in all processes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


class ResumableBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batch sampler of ``(case index, sample index)`` for a whole run, with one batch per optimizer step.

    Sample indices count over the run: ``step · global batch size + position``. Each pass over the cases is a
    permutation that depends on the seed and the number of the pass. Incomplete global batches at the end of a pass are
    dropped, so that a batch never contains a case twice. If there are fewer cases than the global batch size, cases are
    repeated within a batch. Each rank yields its slice of the global batch, so two ranks with batch size b have the
    same global batches as one with 2b.

    To resume, set `start` to the first step before iteration.

    Args:
        num_cases: number of cases.
        batch_size: batch size per rank.
        steps: number of steps of the whole run.
        seed: random seed of the run.
        rank: rank of this process.
        world_size: number of processes.

    Raises:
        InputError: if the number of cases, the batch size or the number of steps is below 1.
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
        """Return the number of batches from `start` to the end of the run."""
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of this rank from step `start`."""
        total = self.batch_size * self.world_size
        length = self.num_cases // total * total or self.num_cases
        current, order = -1, []
        for step in range(self.start, self.steps):
            first = step * total + self.rank * self.batch_size
            batch = []
            for sample in range(first, first + self.batch_size):
                if sample // length != current:
                    current = sample // length
                    order = self._order(current)
                batch.append((order[sample % length], sample))
            yield batch

    def _order(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(stable_seed(self.seed, number))
        return torch.randperm(self.num_cases, generator=generator).tolist()


class SeededTransformDataset(Dataset):
    """Data set with random transforms that depend on the seed, the sample index and the case only.

    Cropping transforms at the beginning (MONAI's crops, and transforms with `crops_only`) are applied to the stored
    data of a `CachedDataset`. Type conversion and transfer from the device follow. Tensors of a `LazyDataset` are
    copied after the transform.

    Args:
        dataset: data set of preprocessed cases.
        transform: MONAI transform with `set_random_state`, for example a `Compose` of random crops and flips.
        seed: random seed of the run.
    """

    def __init__(self, dataset: Dataset, transform: Callable[[dict[str, Any]], Any], seed: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self._crop, self._augment = _split_crops(transform)

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the sample of a ``(case index, sample index)`` of `ResumableBatchSampler`."""
        index, number = key
        reseed(self.transform, stable_seed(self.seed, number, index))
        cached = isinstance(self.dataset, CachedDataset)
        read = self.dataset.read if isinstance(self.dataset, LazyDataset) else self.dataset.__getitem__
        sample = None if cached else read(index)  # preprocessing needs metadata
        tracked = get_track_meta()
        set_track_meta(False)  # preprocessed samples have no metadata, and tracking is slow
        try:
            if cached:
                return self._augment(self.dataset.crop(index, self._crop))
            return detach_storage(self.transform(sample))
        finally:
            set_track_meta(tracked)


def reseed(transform: Randomizable, seed: int) -> None:
    """Seed a transform like ``set_random_state``, but without new generators, which take 0.2 ms each."""
    if "R" not in vars(transform):  # it still uses the generator that all transforms share
        transform.set_random_state(seed=seed)
        return
    transform.R.seed(seed)
    parts = transform.transforms if isinstance(transform, Compose) else vars(transform).values()
    for part in parts:
        if isinstance(part, Randomizable):
            chained = isinstance(transform, Compose)  # a new seed for each; transforms inside a transform have the same
            reseed(part, int(transform.R.randint(MAX_SEED, dtype="uint32")) if chained else seed)


def _split_crops(transform: Callable[[dict[str, Any]], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Split a transform into the cropping transforms at its beginning and the rest."""
    if not isinstance(transform, Compose):
        return (transform, _same) if _is_crop(transform) else (_same, transform)
    count = sum(1 for _ in itertools.takewhile(_is_crop, transform.transforms))
    return partial(transform, end=count), partial(transform, start=count)


def _is_crop(transform: Callable[[dict[str, Any]], Any]) -> bool:
    return isinstance(transform, Cropd | RandCropByLabelClassesd) or getattr(transform, "crops_only", False)


def _same(sample: Any) -> Any:
    return sample
