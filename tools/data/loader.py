"""Data sets and data loaders for training and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import list_data_collate
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset, Subset

from tools.data.agreement import SAMPLED, compare_cases, describe_cases, describe_files
from tools.data.cache.dataset import CachedDataset
from tools.data.cache.on_demand import OnDemandDataset
from tools.data.lazy import LazyDataset
from tools.data.sampler import ResumableBatchSampler, SeededTransformDataset
from tools.utils import distributed
from tools.utils.errors import InputError

RAGGED = ("boxes", "types", "noisy")  # keys whose size differs between images


def build_dataset(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    random: Callable[[dict[str, Any]], Any] | None,
    seed: int,
    cache: str = "memory",
    **options: Any,
) -> SeededTransformDataset:
    """Build a training data set: cached preprocessing, followed by random transforms.

    Args:
        data: cases, see `find_cases`.
        preprocessing: deterministic transforms of one case.
        random: random transforms of a preprocessed case; None if the task transforms batches instead.
        seed: random seed of the transforms.
        cache: location of preprocessed cases, see `CachedDataset`; "none" repeats the preprocessing at every access;
            "lazy" preprocesses a case when it is first drawn, see `OnDemandDataset`.
        options: further arguments of `CachedDataset`.
    """
    return SeededTransformDataset(build_case_dataset(data, preprocessing, cache, **options), random or Compose(), seed)


def build_case_dataset(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    cache: str = "memory",
    cache_dir: str | None = None,
    skip_bad: bool = False,
    desc: str = "training",
    device: torch.device | str | None = None,
    cache_dtype: str = "float32",
    prepare_workers: int | None = None,
    max_cases: int | None = None,
) -> CachedDataset | LazyDataset:
    """Build a data set of whole preprocessed cases, without random transforms; arguments as in `build_dataset`.

    Args:
        data: see `build_dataset`.
        preprocessing: see `build_dataset`.
        cache: see `build_dataset`.
        cache_dir: see `CachedDataset`.
        skip_bad: see `CachedDataset`.
        desc: see `CachedDataset`.
        device: see `CachedDataset`.
        cache_dtype: see `CachedDataset`.
        prepare_workers: number of processes that preprocess, see `tools.data.cache.pool.attempt_cases`.
        max_cases: number of cases to choose, see `limit_cases`; None for all.

    Raises:
        InputError: if the processes of a run have different cases, and as `CachedDataset`.
    """
    data = limit_cases(data, max_cases)
    if distributed.is_distributed():  # before the long preparation
        compare_cases(desc, describe_cases(data))
        compare_cases(desc, describe_files(data[:: max(1, len(data) // SAMPLED)]))  # each rank prepares other cases
    if cache == "none":
        dataset = LazyDataset(data, preprocessing, skip_bad, desc)
    elif cache == "lazy" and cache_dir is not None:
        dataset = OnDemandDataset(data, preprocessing, cache_dir, skip_bad, desc, cache_dtype)
    else:
        dataset = CachedDataset(
            data, preprocessing, cache, cache_dir, skip_bad, prepare_workers, desc, device, cache_dtype
        )
    if distributed.is_distributed():
        compare_cases(desc, dataset.contents)
    return dataset


def limit_cases(cases: Sequence[dict[str, Any]], count: int | None) -> Sequence[dict[str, Any]]:
    """Choose cases by the hash of their ids, in their original order; all if `count` is None or large enough."""
    if count is None or count >= len(cases):
        return cases
    order = sorted(
        range(len(cases)), key=lambda i: hashlib.sha256(cases[i]["case"].encode(errors="surrogateescape")).digest()
    )
    return [cases[i] for i in sorted(order[:count])]


def collate_cases(samples: Sequence[Any]) -> Any:
    """Collate samples as MONAI does; `RAGGED` keys become lists of tensors."""
    ragged = {key: [sample.pop(key) for sample in samples] for key in RAGGED if key in samples[0]}
    batch = list_data_collate(samples)
    return {**batch, **ragged} if ragged else batch


def build_lazy_dataset(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    random: Callable[[dict[str, Any]], Any],
    seed: int,
    skip_bad: bool = False,
) -> SeededTransformDataset:
    """Build a training data set without cache, see `LazyDataset`; arguments as in `build_dataset`."""
    return build_dataset(data, preprocessing, random, seed, cache="none", skip_bad=skip_bad)


def build_loader(
    dataset: SeededTransformDataset, batch_size: int, steps: int, num_workers: int = 0, pin_memory: bool = False
) -> DataLoader:
    """Build the data loader of a whole run for this rank.

    Args:
        dataset: data set of `build_dataset`.
        batch_size: batch size per process.
        steps: number of steps of the run; the workers are started once.
        num_workers: number of worker processes; 0 loads in the main process.
        pin_memory: whether to use page-locked memory for copies to a GPU; ignored if the cases are on the device.

    Raises:
        InputError: if `num_workers` is above 0 and the cases are on the device.
    """
    num_workers = _workers(dataset.dataset, num_workers)
    pin_memory = pin_memory and getattr(dataset.dataset, "device", None) is None
    together = batch_size * distributed.world_size()
    if len(dataset) < together and distributed.rank() == 0:
        print(
            f"warning: {len(dataset)} cases for a global batch size of {together}: cases are repeated within a batch, "
            "and contrastive tasks use other crops of a case as negatives"
        )
    sampler = ResumableBatchSampler(
        len(dataset), batch_size, steps, dataset.seed, distributed.rank(), distributed.world_size()
    )
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=num_workers, pin_memory=pin_memory, collate_fn=collate_cases
    )


def build_case_loader(dataset: CachedDataset, num_workers: int = 0, batch_size: int = 1) -> DataLoader:
    """Build the data loader of whole cases in order; each case is loaded on one rank.

    Args:
        dataset: preprocessed cases.
        num_workers: number of worker processes; 0 loads in the main process.
        batch_size: batch size; above 1 only if all cases have the same size.

    Raises:
        InputError: if there are fewer cases than processes, or `num_workers` is above 0 with cases on the device.
    """
    num_workers = _workers(dataset, num_workers)
    if len(dataset) < distributed.world_size():  # ranks without a case would cause a deadlock
        raise InputError(
            f"cases: expected at least one per process, {distributed.world_size()}, found {len(dataset)}; use a larger "
            "--val_fraction or fewer processes"
        )
    subset = Subset(dataset, range(distributed.rank(), len(dataset), distributed.world_size()))
    return DataLoader(subset, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_cases)


def _workers(dataset: Dataset, num_workers: int) -> int:
    """Return the number of worker processes; 0 if the cases are on a device, since workers cannot access them."""
    if not num_workers or getattr(dataset, "device", None) is None:
        return num_workers
    if not dataset.auto:
        raise InputError(f"num_workers: expected 0 with cache 'device', found {num_workers}")
    if distributed.rank() == 0:
        print(f"note: num_workers {num_workers} is ignored, since the cases are on {dataset.device}")
    return 0
