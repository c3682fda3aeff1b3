"""Benchmark of the start-up time: ``python -m tools.benchmarks.startup [--bundles cpc3d,mae2d]``.

Measures the seconds from the command to the end of the first training step, with phantoms and cache on disk. Also
measures the seconds of importing torch, MONAI and ignite.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import fire

from tools.benchmarks.runs import BUNDLES, bundle_command, print_table, select_bundles, time_process
from tools.utils.excepthook import install_excepthook

FIRST_STEP = b"loss="  # of the progress bar
IMPORTS = ("-c", "import torch, monai, monai.bundle, ignite")


def first_step_arguments(bundle: str, folder: str, **overrides: Any) -> list[str]:
    """Build the arguments of a run of one step with its cache in `folder`."""
    keys = json.loads((BUNDLES / bundle / "configs/train.json").read_text(encoding="utf-8"))
    settings = {
        "epochs": 1,
        "steps_per_epoch": 1,
        "lr_warmup_epochs": 0,
        "cache": "disk",
        "cache_dir": f"{folder}/cache",
    }
    return bundle_command(bundle, folder, **{key: value for key, value in settings.items() if key in keys} | overrides)


def benchmark_bundle(bundle: str, repeats: int, **overrides: Any) -> dict[str, Any]:
    """Measure the medians of several starts; an additional first start fills the cache."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = first_step_arguments(bundle, folder, **overrides)
        time_process(arguments, FIRST_STEP)
        found = [(time_process(IMPORTS), time_process(arguments, FIRST_STEP)) for _ in range(repeats)]
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
    print_table([benchmark_bundle(name, repeats, **overrides) for name in select_bundles(bundles)], output)


if __name__ == "__main__":
    fire.Fire(main)
