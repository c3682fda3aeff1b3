"""Records of the runs of a study, from which an interrupted study continues.

``runs.csv`` has a row per finished or failed run, ``results.csv`` a row per finished run and test case. Besides
the plan, these two files are all that has to be kept of a study.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tools.study.scores import results_file
from tools.utils.errors import InputError
from tools.utils.files import atomic_write, write_table

RUNS, RESULTS = "runs.csv", "results.csv"
Row = dict[str, str]
KEY_COLUMNS = ("arm", "fraction", "seed")
RUN_COLUMNS = (*KEY_COLUMNS, "error", "seconds", "training_cases", "curve")


class RunKey(NamedTuple):
    """Key of a run: initialisation, fraction of the labels, and seed."""

    initialisation: str
    fraction: float
    seed: int


@dataclass(frozen=True)
class RunResult:
    """Results of a finished run.

    Attributes:
        seconds: duration of training and evaluation.
        training_cases: number of labelled training cases.
        rows: table of the test cases.
        curve: step and score of every validation.
    """

    seconds: float
    training_cases: int
    rows: list[Row]
    curve: list[tuple[int, float]]


@dataclass
class Records:
    """Results of the finished runs and error messages of the failed runs."""

    runs: dict[RunKey, RunResult] = field(default_factory=dict)
    errors: dict[RunKey, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write both tables, each at once; ``runs.csv`` last, as it lists the runs whose results count."""
        results = [
            {**_key_columns(key), "training_cases": run.training_cases, **row}
            for key, run in self.runs.items()
            for row in run.rows
        ]
        columns = dict.fromkeys((*KEY_COLUMNS, "training_cases", "case", "patient"))
        columns |= {name: None for row in results for name in row}
        with atomic_write(folder / RESULTS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))  # cells are those of the runs' tables, escaped there
            writer.writeheader()
            writer.writerows(results)
        finished = [
            _key_columns(key)
            | {"error": "", "seconds": round(run.seconds, 1), "training_cases": run.training_cases}
            | {"curve": " ".join(f"{step}:{score!r}" for step, score in run.curve)}
            for key, run in self.runs.items()
        ]
        failed = [
            _key_columns(key) | {"error": error, "seconds": "", "training_cases": "", "curve": ""}
            for key, error in self.errors.items()
        ]
        write_table(folder / RUNS, finished + failed)


def read_records(folder: Path) -> Records:
    """Read the records of a study; empty if there are none.

    A damaged row of ``runs.csv`` is reported, and its run counts as not finished.

    Raises:
        InputError: if a table has other columns, or the results of a finished run are missing.
    """
    records = Records()
    if not (folder / RUNS).exists():
        return records
    tables: dict[RunKey, list[Row]] = {}
    for row in read_table(folder / RESULTS, (*KEY_COLUMNS, "case", "patient"), empty=True):
        key = tuple(row.pop(name) for name in KEY_COLUMNS)
        row.pop("training_cases", None)
        tables.setdefault(key, []).append(row)
    for row in read_table(folder / RUNS, RUN_COLUMNS):
        try:
            key = RunKey(row["arm"], float(row["fraction"]), int(row["seed"]))
            if row["error"]:
                records.errors[key] = row["error"]
                continue
            rows = tables.get(tuple(row[name] for name in KEY_COLUMNS))
            if not rows:
                raise ValueError(f"no rows in {RESULTS}")
            curve = [point.split(":") for point in row["curve"].split()]
            points = [(int(step), float(score)) for step, score in curve]
            records.runs[key] = RunResult(float(row["seconds"]), int(row["training_cases"]), rows, points)
        except (TypeError, ValueError) as error:
            print(f"note: {folder / RUNS}: expected the record of a run, found {row}: {error}; it is run again")
    return records


def read_run(folder: Path, score: str, seconds: float, training_cases: int) -> RunResult:
    """Read the results of a finished run from its output folder.

    Args:
        folder: folder with ``evaluation.csv`` (or ``evaluation_cases.csv``) and ``metrics.csv``.
        score: name of the compared score.
        seconds: duration of the run.
        training_cases: number of labelled training cases.

    Raises:
        InputError: if a table is missing or damaged.
    """
    rows = read_table(folder / results_file(score), ("case", "patient"))
    column = f"val_{score}"
    table = read_table(folder / "metrics.csv", ("step", column))
    try:
        points = [(int(row["step"]), float(row[column])) for row in table if row[column]]
    except ValueError as error:
        raise InputError(
            f"{folder / 'metrics.csv'}: expected numbers under step and {column}, found {error}"
        ) from error
    curve = [(step, value) for step, value in points if not math.isnan(value)]
    return RunResult(seconds, training_cases, rows, curve)


def read_table(path: Path, columns: Sequence[str], empty: bool = False) -> list[Row]:
    """Read a CSV file with the given columns.

    Args:
        path: path of the file.
        columns: names of required columns.
        empty: whether the table may have no rows.

    Raises:
        InputError: if it is missing, is not UTF-8 text, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, found = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table of a study, found {error}") from error
    if not set(columns) <= set(found) or not (rows or empty):
        what = ", ".join(found) if rows else "no rows"
        raise InputError(f"{path}: expected rows with {', '.join(columns)}, found {what}")
    return rows


def _key_columns(key: RunKey) -> dict[str, object]:
    return dict(zip(KEY_COLUMNS, key, strict=True))
