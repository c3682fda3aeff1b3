"""What do bundles learn by default? ``python -m tools.benchmarks.defaults [--output figures.json]``

Trains and evaluates every bundle as its page says, each command in a process of its own, on the phantoms unless keys
say otherwise. ``--amp True --beside figures.json`` on a GPU compares mixed precision with an earlier run on the CPU.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire

from tools.benchmarks.report import table
from tools.benchmarks.runs import chosen_bundles, command, machine, process_seconds
from tools.utils.errors import InputError, install_excepthook
from tools.utils.files import write_json


def measure(bundle: str, folder: str, **overrides: Any) -> dict[str, Any]:
    """Train and evaluate a bundle: the figure that chose its weights, and the same by `evaluate`, with its interval."""
    seconds = process_seconds(command(bundle, folder, **overrides))
    process_seconds(command(bundle, folder, ("train", "evaluate"), **overrides))
    selected = json.loads(Path(folder, "models/model.json").read_text(encoding="utf-8"))["selected"]
    evaluation = json.loads(Path(folder, "output/evaluation.json").read_text(encoding="utf-8"))
    scores = evaluation.get("scores") or {"accuracy": {**evaluation, "value": evaluation["accuracy"]}}
    metric = next(name for name in selected if name in scores)
    found = scores[metric]
    low, high = found["interval_95"]
    return {
        "bundle": bundle,
        "metric": metric,
        "validation": selected[metric],
        "evaluated": found.get("value", found.get("mean")),
        "low": low,
        "high": high,
        "seconds": seconds,
    }


def compare(row: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Put an earlier row beside one: its figure, whether the intervals overlap, and how much faster this was."""
    ends = [row["low"], row["high"], earlier["low"], earlier["high"]]  # null where too few cases were evaluated
    overlap = None if None in ends else ends[0] <= ends[3] and ends[2] <= ends[1]
    return {
        **row,
        "earlier": earlier["evaluated"],
        "overlap": overlap,
        "times_faster": earlier["seconds"] / row["seconds"],
    }


def read_figures(path: str) -> dict[str, Any]:
    """Read what an earlier run wrote.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        figures = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected figures of an earlier run, found {error}") from error
    if not isinstance(figures, dict) or not {"machine", "overrides", "bundles"} <= figures.keys():
        raise InputError(f"{path}: expected figures of an earlier run, found something else")
    return figures


def begin(output: str | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """Figures to go on with: those that `output` holds, or none yet.

    Raises:
        InputError: they were measured elsewhere or with other keys.
    """
    given = json.loads(json.dumps(overrides))  # lists, as in the file
    figures: dict[str, Any] = {"machine": machine(overrides.get("device")), "overrides": given, "bundles": {}}
    if output is None or not Path(output).exists():
        return figures
    found = read_figures(output)
    for key in ("machine", "overrides"):
        if found[key] != figures[key]:
            raise InputError(f"{output}: expected a run with {key} {figures[key]}, found one with {found[key]}")
    return found


def main(
    bundles: Sequence[str] | str = (),
    beside: str | None = None,
    folder: str | None = None,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print a line per bundle as soon as it is done, and the whole table at the end.

    Args:
        bundles: their names; default all.
        beside: JSON file of an earlier run, to compare with.
        folder: where the runs' files stay, a folder per bundle; default a temporary folder.
        output: JSON file; bundles it already holds are not run again, so a run that was stopped goes on.
        overrides: keys of the bundles, such as ``seed`` or ``device``.

    Raises:
        InputError: a run failed, there is no bundle of a name, `beside` lacks one, or `output` holds another run.
    """
    install_excepthook()
    names = chosen_bundles(bundles)
    earlier = read_figures(beside)["bundles"] if beside else {}
    if missing := [name for name in names if beside and name not in earlier]:
        raise InputError(f"{beside}: expected figures of {', '.join(names)}, found none of {', '.join(missing)}")
    figures = begin(output, overrides)
    for name in (name for name in names if name not in figures["bundles"]):
        with tempfile.TemporaryDirectory() as temporary:
            figures["bundles"][name] = measure(name, f"{folder or temporary}/{name}", **overrides)
        table([figures["bundles"][name]])
        if output is not None:
            write_json(output, figures)
    rows = [figures["bundles"][name] for name in names]
    table([compare(row, earlier[row["bundle"]]) for row in rows] if beside else rows)


if __name__ == "__main__":
    fire.Fire(main)
