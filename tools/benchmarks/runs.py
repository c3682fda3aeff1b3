"""Helpers of the benchmarks: bundle runs, timing and tables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from tools.utils.errors import InputError, check_choice
from tools.utils.files import write_json

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"


def select_bundles(names: Sequence[str] | str) -> list[str]:
    """Return the names of the selected bundles; an empty selection means all bundles.

    Raises:
        InputError: if the bundle is unknown.
    """
    available = sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/train.json"))
    return [
        check_choice(name, available, "bundles") for name in ([names] if isinstance(names, str) else names)
    ] or available


def bundle_command(bundle: str, folder: str | Path, configs: Sequence[str] = ("train",), **overrides: Any) -> list[str]:
    """Build the arguments of ``python`` for a bundle run that writes to `folder`."""
    root = BUNDLES / bundle
    files = [str(root / "configs" / f"{name}.json") for name in configs]
    settings = {"bundle_root": root, "models_dir": f"{folder}/models", "output_dir": f"{folder}/output", **overrides}
    run = ["-m", "monai.bundle", "run", "--config_file", str(files)]
    return [*run, *(f"--{key}={value}" for key, value in settings.items())]


def start_process(arguments: Sequence[str], **environment: Any) -> subprocess.Popen[bytes]:
    """Start ``python`` with arguments and additional environment variables; standard error is piped."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in environment.items()}}
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=variables
    )


def wait_for(process: subprocess.Popen[bytes], mark: bytes | None = None) -> None:
    """Wait until a process ends, or until it writes `mark` to standard error, and kill it in the latter case.

    Raises:
        InputError: if the process failed, or ended without writing `mark`.
    """
    with process:
        text = b""
        while not (marked := mark is not None and mark in text) and (piece := process.stderr.read1()):
            text += piece
        if marked:
            process.kill()
            return
    if mark is not None or process.returncode:
        reason = text.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
        expected = "success" if mark is None else f"{mark.decode()!r} on its standard error"
        raise InputError(f"{' '.join(process.args)}: expected {expected}, found {reason}")


def time_process(arguments: Sequence[str], mark: bytes | None = None) -> float:
    """Measure the seconds from the start of ``python`` to its end, or until it writes `mark`, see `wait_for`."""
    begin = time.perf_counter()
    wait_for(start_process(arguments), mark)
    return time.perf_counter() - begin


def build_workflow(bundle: str, folder: str | Path, steps: int, **overrides: Any) -> ConfigWorkflow:
    """Build an initialised workflow of a bundle with one epoch of `steps` steps that writes to `folder`."""
    root = BUNDLES / bundle
    settings = {"epochs": 1, "steps_per_epoch": steps, "val_interval": 1, "lr_warmup_epochs": 0, **overrides}
    folders = {"bundle_root": str(root), "models_dir": f"{folder}/models", "output_dir": f"{folder}/output"}
    workflow = ConfigWorkflow(
        [str(root / "configs/train.json")], logging_file=False, workflow_type="train", **folders, **settings
    )
    workflow.initialize()
    return workflow


def timestamp(device: torch.device | None = None) -> float:
    """Synchronise `device`, by default the current GPU, and return the time in seconds."""
    if torch.cuda.is_available() and (device is None or device.type == "cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def print_table(rows: Sequence[Mapping[str, Any]], output: str | None = None) -> None:
    """Print rows as a table; with `output`, also write them and properties of the machine to a JSON file."""
    lines = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines.insert(0, list(rows[0]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)), flush=True)
    if output is not None:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        machine = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(output, {"machine": machine, "rows": rows})
