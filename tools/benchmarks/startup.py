"""Start-up time of bundles: ``python -m tools.benchmarks.startup [--bundles cpc3d,mae2d]``.

Seconds from the command to the end of the first training step, with phantoms and cache on disk, and the seconds that
importing torch, MONAI and ignite takes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import fire

from tools.benchmarks.runs import BUNDLES, chosen_bundles, command, process_seconds, report
from tools.utils.errors import install_excepthook

FIRST_STEP = b"loss="  # of the progress bar
IMPORTS = ("-c", "import torch, monai, monai.bundle, ignite")


def first_step(bundle: str, folder: str, **overrides: Any) -> list[str]:
    """Arguments of a run of one step whose cache lies in `folder`."""
    keys = json.loads((BUNDLES / bundle / "configs/train.json").read_text(encoding="utf-8"))
    settings = {
        "epochs": 1,
        "steps_per_epoch": 1,
        "lr_warmup_epochs": 0,
        "cache": "disk",
        "cache_dir": f"{folder}/cache",
    }
    return command(bundle, folder, **{key: value for key, value in settings.items() if key in keys} | overrides)


def measure(bundle: str, repeats: int, **overrides: Any) -> dict[str, Any]:
    """Medians of several starts, after one that fills the cache."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = first_step(bundle, folder, **overrides)
        process_seconds(arguments, FIRST_STEP)
        found = [(process_seconds(IMPORTS), process_seconds(arguments, FIRST_STEP)) for _ in range(repeats)]
    imports, first = (statistics.median(column) for column in zip(*found, strict=True))
    return {"bundle": bundle, "imports_s": imports, "first_step_s": first, "difference_s": first - imports}


def main(bundles: Sequence[str] | str = (), repeats: int = 2, output: str | None = None, **overrides: Any) -> None:
    """Print a row per bundle.

    Args:
        bundles: bundle names; default all.
        repeats: number of starts.
        output: JSON file.
        overrides: keys of the bundles, such as ``dataset_dir``.
    """
    install_excepthook()
    report([measure(name, repeats, **overrides) for name in chosen_bundles(bundles)], output)


if __name__ == "__main__":
    fire.Fire(main)
