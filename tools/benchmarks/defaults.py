"""Benchmark of default runs: ``python -m tools.benchmarks.defaults [--bundles cpc3d] [--output figures.json]``.

Trains and evaluates bundles with default settings, on phantoms unless overridden, each command in a separate process.
To compare the CPU with mixed precision on a GPU, run it with and without ``--device cpu``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire

from tools.benchmarks.runs import bundle_command, print_table, select_bundles, time_process
from tools.utils.excepthook import install_excepthook


def benchmark_bundle(bundle: str, folder: str, **overrides: Any) -> dict[str, Any]:
    """Train and evaluate a bundle; return the score that selected its weights and its evaluation with interval."""
    seconds = time_process(bundle_command(bundle, folder, **overrides))
    time_process(bundle_command(bundle, folder, ("train", "evaluate"), **overrides))
    selected = json.loads(Path(folder, "models/model.json").read_text(encoding="utf-8"))["selected"]
    evaluation = json.loads(Path(folder, "output/evaluation.json").read_text(encoding="utf-8"))
    scores = evaluation.get("scores") or {"accuracy": {**evaluation, "value": evaluation["accuracy"]}}
    metric = next(name for name in selected if name in scores)
    low, high = scores[metric]["interval_95"]
    evaluated = scores[metric].get("value", scores[metric].get("mean"))
    found = {"bundle": bundle, "metric": metric, "validation": selected[metric]}
    return {**found, "evaluated": evaluated, "low": low, "high": high, "seconds": seconds}


def main(bundles: Sequence[str] | str = (), output: str | None = None, **overrides: Any) -> None:
    """Print the table after every bundle.

    Args:
        bundles: bundle names; default all.
        output: JSON file, written after every bundle.
        overrides: keys of the bundles, such as ``seed`` or ``device``.
    """
    install_excepthook()
    rows: list[dict[str, Any]] = []
    for name in select_bundles(bundles):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(benchmark_bundle(name, folder, **overrides))
        print_table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
