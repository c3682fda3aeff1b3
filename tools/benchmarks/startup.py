"""How long until a bundle trains? ``python -m tools.benchmarks.startup [--bundles cpc3d,mae2d]``

Seconds from the command to the end of the first training step, phantoms and cache on disk, beside the seconds that
importing torch, MONAI and ignite takes by itself; in processes of their own, taking turns.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire

from tools.benchmarks.report import table
from tools.benchmarks.runs import BUNDLES, chosen_bundles, command, process_seconds
from tools.utils.errors import install_excepthook

STEP = b"loss="  # of the progress bar, which first speaks after a step
BARE = (sys.executable, "-c", "import torch, monai, monai.bundle, ignite")


def first_step(bundle: str, folder: str, **overrides: Any) -> list[str]:
    """The words of a run of one step whose cache and output lie in `folder`."""
    keys = json.loads((BUNDLES / bundle / "configs/train.json").read_text(encoding="utf-8"))
    settings = {"epochs": 1, "steps_per_epoch": 1, "warmup_epochs": 0, "val_interval": 1}
    settings |= {"cache": "disk", "cache_dir": f"{folder}/cache"}
    return command(bundle, folder, **{key: value for key, value in settings.items() if key in keys} | overrides)


def measure(bundle: str, folder: str, repeats: int, **overrides: Any) -> dict[str, Any]:
    """A row of the table: medians of some runs, after one that fills the cache if there is none in `folder`."""
    words = first_step(bundle, folder, **overrides)
    if not Path(folder, "output").exists():
        process_seconds(words, STEP)
    found = [(process_seconds(BARE), process_seconds(words, STEP)) for _ in range(repeats)]
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
    with tempfile.TemporaryDirectory() as temporary:
        rows = [
            measure(name, f"{folder or temporary}/{name}", repeats, **overrides) for name in chosen_bundles(bundles)
        ]
    table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
