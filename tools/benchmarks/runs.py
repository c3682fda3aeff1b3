"""Runs of bundles that benchmarks time, and how they time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

BUNDLES = Path(__file__).parents[2] / "bundles"


def workflow(
    bundle: str | Path, folder: str | Path, steps: int, configs: Sequence[str] = ("train",), **overrides: Any
) -> ConfigWorkflow:
    """A run of one epoch of a bundle, given by name or whole path, its files in `folder`."""
    root = BUNDLES / bundle
    settings = {"epochs": 1, "steps_per_epoch": steps, "val_interval": 1, "warmup_epochs": 0}
    made = ConfigWorkflow(
        [str(root / "configs" / f"{name}.json") for name in configs],
        logging_file=False,
        workflow_type="train",
        bundle_root=str(root),
        models_dir=f"{folder}/models",
        output_dir=f"{folder}/output",
        **{**settings, **overrides},
    )
    made.initialize()
    return made


def now(device: torch.device | None = None) -> float:
    """The time when all work given to a device is done; by default to the current GPU, where there is one."""
    if torch.cuda.is_available() and (device is None or device.type == "cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median wall time of `work`, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = now()
        work()
        times.append(now() - begin)
    return sorted(times)[repeats // 2]
