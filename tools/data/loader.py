"""What a bundle trains and validates from: a data set of random draws and its loader, and whole cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import list_data_collate
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset, Subset

from tools.data.agreement import compare_cases, describe_cases
from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.data.sampler import ResumableBatchSampler, SeededTransformDataset
from tools.utils import distributed
from tools.utils.errors import InputError

RAGGED = ("boxes", "types", "noisy")  # of every picture another number


def build_dataset(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    random: Callable[[dict[str, Any]], Any] | None,
    seed: int,
    cache: str = "memory",
    **options: Any,
) -> SeededTransformDataset:
    """Prepare cases once and draw from them at random.

    Args:
        data: cases as `find_cases` gives them.
        preprocessing: deterministic transforms of one case.
        random: random transforms of a prepared case; None where batches are changed instead.
        seed: seed of the draws.
        cache: where prepared cases are kept, see `CachedDataset`; "none" prepares a case anew for every draw from it.
        options: further arguments of `CachedDataset`.
    """
    return SeededTransformDataset(build_cases(data, preprocessing, cache, **options), random or Compose(), seed)


def build_cases(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    cache: str = "memory",
    cache_dir: str | None = None,
    skip_bad: bool = False,
    desc: str = "training",
    device: torch.device | str | None = None,
) -> CachedDataset | LazyDataset:
    """Prepare whole cases once, or with `cache` "none" whenever one is asked for; arguments as for `build_dataset`.

    Raises:
        InputError: the processes of a run do not see the same cases, or see `CachedDataset`.
    """
    if distributed.is_distributed():  # before the long preparation
        compare_cases(desc, describe_cases(data))
    if cache == "none":
        dataset = LazyDataset(data, preprocessing, skip_bad, desc)
    else:
        dataset = CachedDataset(data, preprocessing, cache, cache_dir, skip_bad, desc=desc, device=device)
    if distributed.is_distributed():
        compare_cases(desc, dataset.contents)
    return dataset


def collate_cases(samples: Sequence[Any]) -> Any:
    """Put samples together as MONAI does; what every picture has another number of stays a list of tensors."""
    ragged = {key: [sample.pop(key) for sample in samples] for key in RAGGED if key in samples[0]}
    batch = list_data_collate(samples)
    return {**batch, **ragged} if ragged else batch


def build_stream(
    data: Sequence[dict[str, Any]],
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    random: Callable[[dict[str, Any]], Any],
    seed: int,
    skip_bad: bool = False,
) -> SeededTransformDataset:
    """Read a case anew for every draw from it; arguments as for `build_dataset`, and see `LazyDataset`."""
    return build_dataset(data, preprocessing, random, seed, cache="none", skip_bad=skip_bad)


def build_loader(
    dataset: SeededTransformDataset, batch_size: int, steps: int, num_workers: int = 0, pin_memory: bool = False
) -> DataLoader:
    """Load the batches of a whole run, this rank's share of each.

    Args:
        dataset: from `build_dataset`.
        batch_size: cases per step on this process.
        steps: steps of the run; workers live that long.
        num_workers: processes that draw; 0 draws in this one.
        pin_memory: page-locked batches, for copies to a GPU; those that are there already are left as they are.

    Raises:
        InputError: `num_workers` with cases on the device.
    """
    num_workers = _workers(dataset.dataset, num_workers)
    pin_memory = pin_memory and getattr(dataset.dataset, "device", None) is None
    together = batch_size * distributed.world_size()
    if len(dataset) < together and distributed.rank() == 0:
        print(
            f"warning: {len(dataset)} cases for batches of {together}: a case repeats within a batch, and contrastive "
            "tasks take some of its negatives from itself"
        )
    sampler = ResumableBatchSampler(
        len(dataset), batch_size, steps, dataset.seed, distributed.rank(), distributed.world_size()
    )
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=num_workers, pin_memory=pin_memory, collate_fn=collate_cases
    )


def build_case_loader(dataset: CachedDataset, num_workers: int = 0, batch_size: int = 1) -> DataLoader:
    """Load whole cases in order, each on one process only.

    Args:
        dataset: prepared cases.
        num_workers: processes that load; 0 loads in this one.
        batch_size: cases at a time, when they are all of one size.

    Raises:
        InputError: fewer cases than processes, or `num_workers` with cases on the device.
    """
    num_workers = _workers(dataset, num_workers)
    if len(dataset) < distributed.world_size():  # a process without a case would leave the others waiting
        raise InputError(
            f"cases: expected at least one for each of {distributed.world_size()} processes, found {len(dataset)}"
        )
    share = Subset(dataset, range(distributed.rank(), len(dataset), distributed.world_size()))
    return DataLoader(share, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_cases)


def _workers(dataset: Dataset, num_workers: int) -> int:
    """Number of loader processes, which must not touch what lies on a device: none then."""
    if not num_workers or getattr(dataset, "device", None) is None:
        return num_workers
    if not dataset.chosen:
        raise InputError(f"num_workers: expected 0 with cache 'device', found {num_workers}")
    if distributed.rank() == 0:
        print(f"note: num_workers {num_workers} is not needed, since the cases are kept on {dataset.device}")
    return 0
