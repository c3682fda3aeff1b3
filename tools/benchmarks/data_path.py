"""What does an epoch's data cost? ``python -m tools.benchmarks.data_path [--cases 64]``

MONAI's `Dataset`, `PersistentDataset` and `CacheDataset` beside ours with each cache, in one run: the same files,
preprocessing, order of cases and random crops, through the same loader, until the batch is on the device. The first
epoch includes preparing the cases; a later one is the shortest of some, taken in turns. While MONAI's data sets find
their cases prepared they keep no metadata, as ours do: the work is the same, and so are the batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
import torch
from monai.data import CacheDataset, PersistentDataset, get_track_meta, set_track_meta
from monai.data import Dataset as MonaiDataset
from monai.transforms import Compose, Randomizable
from torch.utils.data import DataLoader, Dataset

from tools.benchmarks.runs import machine, now
from tools.data.cases import find_cases
from tools.data.loader import build_dataset, collate_cases
from tools.data.sampler import ResumableBatchSampler, stable_seed
from tools.phantoms.brain import brain_phantoms
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.errors import install_excepthook
from tools.utils.files import write_json

PLAIN, PERSISTENT, CACHED = "Dataset", "PersistentDataset", "CacheDataset"
OURS = ("memory", "disk", "device")
HEADER = f"{'data set':18} {'first (s)':>9}  {'later (s)':>9}  {'crops/s':>8}  {'of Dataset':>10}  {'differs by':>10}"


class Seeded(Dataset):
    """A data set whose last transform draws as `SeededTransformDataset` lets it draw.

    Args:
        dataset: one of MONAI's, whose transforms end with `crop`.
        crop: the random transform.
        seed: seed of the run.

    Attributes:
        track: whether metadata is kept; preparing needs it.
    """

    def __init__(self, dataset: Dataset, crop: Randomizable, seed: int) -> None:
        self.dataset = dataset
        self.crop = crop
        self.seed = seed
        self.track = True

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Sample of a ``(case index, draw)``."""
        index, draw = key
        self.crop.set_random_state(seed=stable_seed(self.seed, draw, index))
        tracked = get_track_meta()
        set_track_meta(self.track)
        try:
            return self.dataset[index]
        finally:
            set_track_meta(tracked)


def data_sets(
    cases: Sequence[dict[str, Any]], folder: Path, edge: int, spacing: float, seed: int, device: torch.device
) -> dict[str, Callable[[], Dataset]]:
    """What makes each of the data sets."""
    preprocessing = build_preprocessing((edge,) * 3, channels=1, spacing=spacing)
    crop = build_random_crop((edge,) * 3)
    whole = Compose([*preprocessing.transforms, crop])
    made = {
        PLAIN: lambda: Seeded(MonaiDataset(cases, whole), crop, seed),
        PERSISTENT: lambda: Seeded(PersistentDataset(cases, whole, folder / "monai"), crop, seed),
        CACHED: lambda: Seeded(CacheDataset(cases, whole, num_workers=2, progress=False), crop, seed),
    }
    for cache in OURS:
        options = {"cache": cache, "cache_dir": str(folder / "ours"), "device": device}
        made[cache] = lambda options=options: build_dataset(cases, preprocessing, crop, seed, **options)
    return made


def epoch(dataset: Dataset, num_cases: int, batch_size: int, seed: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the batches (B, 1, D, H, W) of a pass over all cases on the device."""
    batches = ResumableBatchSampler(num_cases, batch_size, num_cases // batch_size, seed)
    for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=collate_cases):
        yield batch["image"].to(device, non_blocking=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of some work, what it left to the device included, and its result."""
    begin = now()
    made = work()
    return now() - begin, made


def measure(
    makers: Mapping[str, Callable[[], Dataset]], repeats: int, run: Callable[[Dataset], Iterator[torch.Tensor]]
) -> dict[str, dict[str, float]]:
    """Seconds of the first and of a later epoch of each data set, and the largest difference from the first one's."""
    figures, sets, expected = {}, {}, []
    for name, make in makers.items():

        def first(name: str = name, make: Callable[[], Dataset] = make) -> list[torch.Tensor]:
            sets[name] = make()
            return list(run(sets[name]))

        seconds, batches = timed(first)
        expected = expected or batches
        differs = max(float((one - other).abs().max()) for one, other in zip(batches, expected, strict=True))
        figures[name] = {"first_s": seconds, "later_s": float("inf"), "differs_by": differs}
    for number in range(repeats):
        for name, dataset in sets.items():
            if name == PLAIN and number:  # never any faster
                continue
            if name in (PERSISTENT, CACHED):
                dataset.track = False
            seconds = timed(lambda dataset=dataset: sum(1 for _ in run(dataset)))[0]
            figures[name]["later_s"] = min(figures[name]["later_s"], seconds)
    return figures


def main(
    cases: int = 64,
    edge: int = 48,
    size: Sequence[int] = (64, 76, 64),
    spacing: float = 2.5,
    batch_size: int = 4,
    repeats: int = 5,
    device: str | None = None,
    dataset_dir: str | None = None,
    output: str | None = None,
) -> None:
    """Print the table.

    Args:
        cases: number of generated volumes.
        edge: edge of the crops in voxels.
        size: voxels of a volume, on average.
        spacing: edge of its voxels in mm, on average, and of the prepared ones.
        batch_size: crops per batch.
        repeats: later epochs.
        device: where batches go; default CUDA where there is some.
        dataset_dir: the generated volumes, when they are to be kept.
        output: JSON file for the figures.
    """
    install_excepthook()
    target, seed = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")), 0
    with tempfile.TemporaryDirectory() as folder:
        found = find_cases(brain_phantoms(dataset_dir or f"{folder}/set", cases, size, spacing))
        makers = data_sets(found, Path(folder), edge, spacing, seed, target)
        figures = measure(makers, repeats, lambda dataset: epoch(dataset, cases, batch_size, seed, target))
    drawn = cases // batch_size * batch_size
    print(HEADER)
    for name, values in figures.items():
        values["crops_per_s"] = drawn / values["later_s"]
        values["of_dataset"] = figures[PLAIN]["later_s"] / values["later_s"]
        print(line(name, values))
    if output is not None:
        write_json(output, {"machine": machine(target), **figures})


def line(name: str, values: Mapping[str, float]) -> str:
    """One line of the table."""
    label = f"ours, {name}" if name in OURS else name
    times = f"{values['first_s']:9.2f}  {values['later_s']:9.4f}  {values['crops_per_s']:8.0f}"
    return f"{label:18} {times}  {values['of_dataset']:10.1f}  {values['differs_by']:10.1g}"


if __name__ == "__main__":
    fire.Fire(main)
