"""Benchmark of finding and preparing many cases: ``python -m tools.benchmarks.corpus [--counts "[250,1000]"]``.

Generates small volumes and measures the time and the CPU time per case, child processes included, of

- listing the cases,
- preparing all of them in the disk cache (cold), in one process and in several,
- the second start, when all are prepared (warm),
- the first batch with cache ``lazy`` in an empty folder,
- the same with MONAI's `PersistentDataset`, which prepares a case at the first access.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import fire
import nibabel as nib
import numpy as np
from monai.data import PersistentDataset

from tools.benchmarks.runs import print_table, timestamp
from tools.data.cases import find_cases
from tools.data.loader import build_dataset, build_loader
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.excepthook import install_excepthook


def write_volumes(folder: Path, count: int, edge: int) -> Path:
    """Write volumes of random voxels, a patient each."""
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(0, 1000, (edge,) * 3).astype(np.int16)
    for number in range(count):
        voxels[0, 0, 0] = number % 1000
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), folder / f"case{number:06d}.nii")
    return folder


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(step: str, count: int, function: Callable[[], Any]) -> dict[str, Any]:
    """Return a row with the seconds of a function, and milliseconds of CPU time per case."""
    begin, before = timestamp(), cpu_seconds()
    function()
    seconds, cpu = timestamp() - begin, cpu_seconds() - before
    return {"cases": count, "step": step, "seconds": seconds, "cpu_ms_per_case": 1000 * cpu / count}


def consume(items: Iterable[Any]) -> None:
    """Iterate over all items."""
    for _ in items:
        pass


def rows_of(folder: Path, count: int, edge: int, workers: Sequence[int]) -> list[dict[str, Any]]:
    """Measure all steps with a number of cases."""
    data, roi = write_volumes(folder / "data", count, edge), (edge // 2,) * 3
    rows = [measure("list", count, lambda: find_cases(data))]
    cases, preprocessing = find_cases(data), build_preprocessing(roi, channels=1, spacing=2.0)

    def build(cache: str, place: str, number: int = 0) -> Any:
        options = {"cache_dir": str(folder / place), "prepare_workers": number}
        return build_dataset(cases, preprocessing, build_random_crop(roi), 0, cache, **options)

    for number in workers:
        place = f"disk{number}"
        named = "1 process" if number < 2 else f"{number} processes"
        rows.append(measure(f"prepare, {named}", count, lambda n=number, p=place: build("disk", p, n)))
    rows.append(measure("second start", count, lambda: build("disk", place)))
    rows.append(measure("first batch, lazy", count, lambda: consume(build_loader(build("lazy", "lazy"), 4, 1))))
    monai = PersistentDataset(cases, preprocessing, folder / "monai")
    rows.append(measure("PersistentDataset, first epoch", count, lambda: consume(monai)))
    again = PersistentDataset(cases, preprocessing, folder / "monai")
    rows.append(measure("PersistentDataset, second epoch", count, lambda: consume(again)))
    return rows


def main(
    counts: Sequence[int] = (250, 1000, 4000, 16000),
    edge: int = 24,
    workers: Sequence[int] = (1, 2),
    output: str | None = None,
) -> None:
    """Print a row for each number of cases and step.

    Args:
        counts: numbers of cases.
        edge: edge length of a volume in voxels.
        workers: numbers of processes that prepare.
        output: JSON file.
    """
    install_excepthook()
    rows = []
    for count in counts:
        folder = Path(tempfile.mkdtemp())
        try:
            rows += rows_of(folder, count, edge, workers)
        finally:
            shutil.rmtree(folder)
    print_table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
