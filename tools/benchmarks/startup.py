"""How long until a bundle trains? ``python -m tools.benchmarks.startup [--bundles cpc3d,mae2d]``

Seconds from the command to the end of the first training step, phantoms and cache on disk, beside the seconds that
importing torch, MONAI and ignite takes by itself; in processes of their own, taking turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire

from tools.benchmarks.report import table
from tools.errors import InputError, install_excepthook

ROOT = Path(__file__).parents[2]
STEP = b"loss="  # of the progress bar, which first speaks after a step
BARE = (sys.executable, "-c", "import torch, monai, monai.bundle, ignite")


def command(bundle: str, folder: str, **overrides: Any) -> list[str]:
    """A run of one step whose cache and output lie in `folder`."""
    config = ROOT / "bundles" / bundle / "configs/train.json"
    keys = json.loads(config.read_text())
    settings = {"epochs": 1, "steps_per_epoch": 1, "warmup_epochs": 0, "val_interval": 1}
    settings |= {"cache": "disk", "cache_dir": f"{folder}/cache"}
    settings |= {"models_dir": f"{folder}/models", "output_dir": f"{folder}/output"}
    given = {key: value for key, value in settings.items() if key in keys} | overrides
    run = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
    return [*run, "--bundle_root", str(config.parents[1]), *(f"--{key}={value}" for key, value in given.items())]


def seconds(words: Sequence[str], mark: bytes | None = None) -> float:
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
        raise InputError(f"{' '.join(words)}: expected a first step, found {reason}")
    return elapsed


def measure(bundle: str, folder: str, repeats: int, **overrides: Any) -> dict[str, Any]:
    """A row of the table: medians of some runs, after one that fills the cache if there is none in `folder`."""
    words = command(bundle, folder, **overrides)
    if not Path(folder, "output").exists():
        seconds(words, STEP)
    found = [(seconds(BARE), seconds(words, STEP)) for _ in range(repeats)]
    imports, first = (statistics.median(column) for column in zip(*found, strict=True))
    return {"bundle": bundle, "imports_s": imports, "first_step_s": first, "difference_s": first - imports}


def main(
    bundles: Sequence[str] | str = (),
    repeats: int = 2,
    folder: str | None = None,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print a line per bundle: the bare imports, the first step, and their difference, in seconds.

    Args:
        bundles: their names; default all.
        repeats: runs timed of each.
        folder: where caches stay for the next call; default a temporary folder.
        output: JSON file.
        overrides: keys of the bundles, such as ``dataset_dir``.
    """
    install_excepthook()
    every = sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/train.json"))
    names = [bundles] if isinstance(bundles, str) else list(bundles) or every
    with tempfile.TemporaryDirectory() as temporary:
        rows = [measure(name, f"{folder or temporary}/{name}", repeats, **overrides) for name in names]
    table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
