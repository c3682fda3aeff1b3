"""Benchmark of time and memory against data size: ``python -m tools.benchmarks.growth [--output growth.json]``.

Measures three quantities: seconds of preprocessing against the number of scans, seconds of a training step against
scans, voxels and batch size, and resident memory after each epoch. Slopes are in log-log space: 1 is linear growth, 0
is none.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import fire
from ignite.engine import Events

from tools.benchmarks.runs import build_workflow, print_table, timestamp
from tools.phantoms.brain import brain_phantoms
from tools.utils.excepthook import install_excepthook
from tools.utils.memory import tune_malloc


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def run_steps(bundle: str, steps: int, epochs: int = 1, **overrides: Any) -> tuple[float, float, list[float]]:
    """Measure seconds of preprocessing, median seconds of a training step, and resident MiB after each epoch."""
    ends: list[float] = []
    resident: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        workflow = build_workflow(bundle, folder, steps, epochs=epochs, cache="memory", val_steps=1, **overrides)
        begin = timestamp()
        workflow.parser.get_parsed_content("train#dataset")
        prepared = timestamp() - begin
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: ends.append(timestamp()))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: resident.append(resident_mib()))
        workflow.run()
        workflow.finalize()
    return prepared, statistics.median(end - begin for begin, end in pairwise(ends)), resident


def slope(sizes: Sequence[float], cost: Sequence[float]) -> float:
    """Compute the least-squares slope of log(cost) against log(size)."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(value) for value in cost]).slope


def table_row(what: str, against: str, sizes: Sequence[int], cost: Sequence[float]) -> dict[str, Any]:
    """Build a row of the table."""
    listed = {"size": " ".join(map(str, sizes)), "cost": " ".join(f"{value:.3g}" for value in cost)}
    return {"what": what, "against": against, **listed, "slope": slope(sizes, cost)}


def main(
    bundle: str = "cpc3d",
    scans: Sequence[int] = (16, 64, 256),
    edges: Sequence[int] = (64, 96, 128),
    batch_sizes: Sequence[int] = (2, 4, 8),
    steps: int = 6,
    epochs: int = 20,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print the table of costs and slopes.

    Args:
        bundle: name of a 3D pretext bundle.
        scans: numbers of scans.
        edges: edge lengths of the crops in voxels.
        batch_sizes: crops per batch.
        steps: timed steps per run.
        epochs: epochs of the run whose memory is recorded.
        output: JSON file.
        overrides: keys of the bundle.
    """
    install_excepthook()
    tune_malloc()
    *_, resident = run_steps(bundle, 1, epochs, **overrides)  # first, while the process is small
    with tempfile.TemporaryDirectory() as folder:
        datasets = [brain_phantoms(f"{folder}/{count}", count, (48, 56, 48), 4.0) for count in scans]
        by_scans = [run_steps(bundle, steps, **{**overrides, "dataset_dir": dataset}) for dataset in datasets]
    by_edge = [run_steps(bundle, steps, **{**overrides, "roi_size": [edge] * 3})[1] for edge in edges]
    by_batch = [run_steps(bundle, steps, **{**overrides, "batch_size": size})[1] for size in batch_sizes]
    epoch_numbers = sorted({max(1, epochs // divisor) for divisor in (4, 2, 1)})
    rows = [
        table_row("preparation, s", "scans", scans, [prepared for prepared, _, _ in by_scans]),
        table_row("step, s", "scans", scans, [step for _, step, _ in by_scans]),
        table_row("step, s", "voxels", [edge**3 for edge in edges], by_edge),
        table_row("step, s", "batch", batch_sizes, by_batch),
        table_row("memory, MiB", "epochs", epoch_numbers, [resident[number - 1] for number in epoch_numbers]),
    ]
    print_table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
