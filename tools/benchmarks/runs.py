"""Runs of bundles that benchmarks time, and how they time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from tools.utils.errors import InputError, check_choice

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"


def chosen_bundles(names: Sequence[str] | str) -> list[str]:
    """Names of bundles, given as one or several, or none for all.

    Raises:
        InputError: there is no bundle of a name.
    """
    every = sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/train.json"))
    return [check_choice(name, every, "bundles") for name in ([names] if isinstance(names, str) else names)] or every


def command(bundle: str, folder: str | Path, configs: Sequence[str] = ("train",), **overrides: Any) -> list[str]:
    """The words that run a bundle as a user would, its files in `folder`."""
    root = BUNDLES / bundle
    files = [str(root / "configs" / f"{name}.json") for name in configs]
    settings = {"bundle_root": root, "models_dir": f"{folder}/models", "output_dir": f"{folder}/output", **overrides}
    run = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    return [*run, *(f"--{key}={value}" for key, value in settings.items())]


def process_seconds(words: Sequence[str], mark: bytes | None = None) -> float:
    """Time until a process has written `mark` to its standard error, and is ended, or until its own end.

    Raises:
        InputError: it failed, or ended without writing `mark`.
    """
    begin = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        said = b""
        while not (marked := mark is not None and mark in said) and (piece := process.stderr.read1()):
            said += piece
        if marked:
            process.kill()
        process.wait()
        elapsed = time.perf_counter() - begin
    if not marked and (mark is not None or process.returncode):
        reason = said.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
        expected = "success" if mark is None else f"{mark.decode()!r} on its standard error"
        raise InputError(f"{' '.join(words)}: expected {expected}, found {reason}")
    return elapsed


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


def machine(device: torch.device | str | None = None) -> dict[str, Any]:
    """Where the figures come from, on the bundles' default device or another."""
    device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else device
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


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
