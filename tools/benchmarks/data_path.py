"""Benchmark of data sets and caches: ``python -m tools.benchmarks.data_path [--cases 64]``.

Compares MONAI's `Dataset`, `PersistentDataset` and `CacheDataset` with the data set of the bundles with each cache.
All use the same files, preprocessing, order of cases, random crops and loader. The time of an epoch ends when the last
batch is on the device. The first epoch includes the preprocessing; the fastest of several later epochs is reported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fire
import torch
from monai.data import CacheDataset, PersistentDataset, get_track_meta, set_track_meta
from monai.data import Dataset as MonaiDataset
from monai.transforms import Compose, Randomizable
from torch.utils.data import DataLoader, Dataset

from tools.benchmarks.runs import print_table, timestamp
from tools.data.cases import find_cases
from tools.data.loader import build_dataset, collate_cases
from tools.data.sampler import ResumableBatchSampler, stable_seed
from tools.phantoms.brain import brain_phantoms
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.excepthook import install_excepthook

SEED = 0


class SeededDataset(Dataset):
    """MONAI data set whose last transform `crop` is seeded by case and draw, as in `SeededTransformDataset`."""

    def __init__(self, dataset: Dataset, crop: Randomizable) -> None:
        self.dataset, self.crop = dataset, crop

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the sample of a ``(case index, draw)``."""
        index, draw = key
        self.crop.set_random_state(seed=stable_seed(SEED, draw, index))
        return self.dataset[index]


def dataset_factories(
    cases: Sequence[dict[str, Any]], folder: Path, edge: int, spacing: float, device: torch.device
) -> dict[str, Callable[[], Dataset]]:
    """Return the functions that build the data sets, by name."""
    preprocessing, crop = build_preprocessing((edge,) * 3, channels=1, spacing=spacing), build_random_crop((edge,) * 3)
    transform = Compose([*preprocessing.transforms, crop])

    def ours(cache: str) -> Dataset:
        options = {"cache": cache, "cache_dir": str(folder / "ours"), "device": device}
        return build_dataset(cases, preprocessing, crop, SEED, **options)

    return {
        "Dataset": lambda: SeededDataset(MonaiDataset(cases, transform), crop),
        "PersistentDataset": lambda: SeededDataset(PersistentDataset(cases, transform, folder / "monai"), crop),
        "CacheDataset": lambda: SeededDataset(CacheDataset(cases, transform, num_workers=2, progress=False), crop),
        **{f"ours, cache {cache}": lambda cache=cache: ours(cache) for cache in ("memory", "disk", "device")},
    }


def iterate_epoch(dataset: Dataset, num_cases: int, batch_size: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the batches (B, 1, D, H, W) of an epoch on the device."""
    batches = ResumableBatchSampler(num_cases, batch_size, num_cases // batch_size, SEED)
    for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=collate_cases):
        yield batch["image"].to(device, non_blocking=True)


def time_epoch(run: Callable[[Dataset], Iterator[Any]], build: Callable[[], Dataset], repeats: int) -> dict[str, float]:
    """Measure the seconds of building a data set with its first epoch, and of the fastest later epoch."""
    begin = timestamp()
    dataset = build()
    batches = list(run(dataset))
    first, later = timestamp() - begin, []
    tracked = get_track_meta()
    prepared = not (isinstance(dataset, SeededDataset) and type(dataset.dataset) is MonaiDataset)
    set_track_meta(tracked and not prepared)  # like the data set of the bundles, which returns no metadata
    for _ in range(repeats):
        begin = timestamp()
        for _batch in run(dataset):
            pass
        later.append(timestamp() - begin)
    set_track_meta(tracked)
    return {"first_s": first, "later_s": min(later), "checksum": float(sum(batch.double().sum() for batch in batches))}


def main(
    cases: int = 64,
    edge: int = 48,
    size: Sequence[int] = (64, 76, 64),
    spacing: float = 2.5,
    batch_size: int = 4,
    repeats: int = 5,
    device: str | None = None,
    output: str | None = None,
) -> None:
    """Print a row per data set; equal checksums mean equal batches, except for ``device`` with half precision.

    Args:
        cases: number of generated volumes.
        edge: edge length of the crops in voxels.
        size: mean size of a volume in voxels.
        spacing: mean voxel size of the volumes and target voxel size of the preprocessing, in mm.
        batch_size: crops per batch.
        repeats: number of later epochs.
        device: device of the batches; default CUDA if available.
        output: JSON file.
    """
    install_excepthook()
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        found = find_cases(brain_phantoms(f"{folder}/set", cases, size, spacing))
        sets = dataset_factories(found, Path(folder), edge, spacing, target)
        rows = [
            {"data_set": name, **time_epoch(lambda one: iterate_epoch(one, cases, batch_size, target), build, repeats)}
            for name, build in sets.items()
        ]
    for row in rows:
        row["times_Dataset"] = rows[0]["later_s"] / row["later_s"]
    print_table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
