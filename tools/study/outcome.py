"""Loading of a study from disk: plan, finished runs and failed runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tools.study.plan import read_plan
from tools.study.scores import results_file
from tools.utils.errors import InputError
from tools.utils.inputs import COUNT, INTEGER, NUMBER, TEXT, Rule, read_json

Row = dict[str, str]


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
        rows: table of the test cases, in the order of `Outcome.cases`.
        curve: step and score of every validation.
    """

    seconds: float
    training_cases: int
    rows: list[Row]
    curve: list[tuple[int, float]]


@dataclass(frozen=True)
class Outcome:
    """Results of a study, finished or not.

    Attributes:
        bundle: name of the downstream bundle.
        score: name of the compared score; higher is better.
        initialisations: ``name``, ``pretrained`` and ``protocol`` of each initialisation, training from scratch first.
        fractions: label fractions, ascending.
        seeds: random seeds of label subsets and training.
        settings: keys of the bundle, equal for all runs.
        runs: results of the finished runs.
        errors: error messages of the failed runs.
        cases: ids of the test cases, equal for all runs.
        patients: patient of each test case.
    """

    bundle: str
    score: str
    initialisations: list[dict[str, Any]]
    fractions: list[float]
    seeds: list[int]
    settings: dict[str, Any]
    runs: dict[RunKey, RunResult]
    errors: dict[RunKey, str]
    cases: list[str]
    patients: list[str]

    @property
    def names(self) -> list[str]:
        """Names of the initialisations, scratch first."""
        return [one["name"] for one in self.initialisations]

    @property
    def scratch(self) -> str:
        """Name of training from scratch, the reference of all comparisons."""
        return self.names[0]

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return len(self.initialisations) * len(self.fractions) * len(self.seeds)

    @property
    def partial(self) -> str:
        """Progress of an unfinished study, for example "partial: 41 of 96 runs"; empty if all runs are finished."""
        done = len(self.runs)
        return "" if done == self.planned else f"partial: {done} of {self.planned} runs"

    def seeds_of(self, initialisation: str, fraction: float) -> list[int]:
        """Return the seeds of the finished runs of an initialisation at a label fraction."""
        return [seed for seed in self.seeds if RunKey(initialisation, fraction, seed) in self.runs]

    def common_seeds(self, initialisation: str, fraction: float) -> list[int]:
        """Return the seeds of finished runs of both an initialisation and scratch at a label fraction."""
        scratch = self.seeds_of(self.scratch, fraction)
        return [seed for seed in self.seeds_of(initialisation, fraction) if seed in scratch]

    def table(self) -> Iterator[dict[str, Any]]:
        """Yield a row per run and test case: the run's key, and the bundle's columns of the case."""
        for key, run in self.runs.items():
            columns = {"arm": key.initialisation, "fraction": key.fraction, "seed": key.seed}
            columns["training_cases"] = run.training_cases
            for row in run.rows:
                yield {**columns, "case": row["case"], "patient": row["patient"], **row}


#: fields of ``cell.json``
CELL = {
    "arm": TEXT,
    "fraction": NUMBER,
    "seed": INTEGER,
    "status": Rule("done or failed", lambda value: value in ("done", "failed")),
    "error?": (TEXT,),
    "seconds": NUMBER,
    "training_cases": COUNT,
}


def read_outcome(study_dir: str | Path) -> Outcome:
    """Read the finished and failed runs of a study; runs outside the plan are ignored.

    Args:
        study_dir: folder with ``plan.json`` and ``cells``.

    Raises:
        InputError: if there is no plan or no finished run, if a file is missing or incomplete, or if the test cases of
            the runs differ.
    """
    study_dir = Path(study_dir)
    plan = read_plan(study_dir / "plan.json")
    initialisations, fractions, seeds = plan["arms"], sorted(plan["fractions"]), plan["seeds"]
    grid = [RunKey(arm["name"], fraction, seed) for arm in initialisations for fraction in fractions for seed in seeds]
    found = {}
    for path in sorted(study_dir.glob("cells/*/*/cell.json")):
        if content := read_run_record(path):
            found[RunKey(content["arm"], content["fraction"], content["seed"])] = (path.parent, content)
    done, errors = {}, {}
    for key in (key for key in grid if key in found):
        folder, content = found[key]
        if content["status"] == "done":
            done[key] = (folder, content)
        elif content["status"] == "failed":
            errors[key] = str(content.get("error") or "no error was recorded")
    if not done:
        first = f", the first of {len(errors)} errors: {next(iter(errors.values()))}" if errors else ""
        raise InputError(f"{study_dir}: expected at least one finished run of {len(grid)}, found none{first}")
    runs = {key: _read_run(*entry, plan["score"]) for key, entry in done.items()}
    cases = _same_cases(runs, {key: entry[0] for key, entry in done.items()})
    return Outcome(
        plan["bundle"],
        plan["score"],
        initialisations,
        fractions,
        seeds,
        plan.get("settings") or {},
        runs,
        errors,
        *cases,
    )


def read_run_record(path: Path) -> dict[str, Any] | None:
    """Read the record of a run; None for a missing or damaged record, whose run counts as not finished."""
    if not path.exists():
        return None
    try:
        return read_json(path, CELL, "record of a run")
    except InputError as error:
        print(f"note: {error}; the run counts as not finished")
        return None


def _read_table(path: Path, columns: tuple[str, ...]) -> list[Row]:
    if not path.exists():
        raise InputError(f"{path}: expected the table of a finished run, found no file")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"{path}: expected rows with {', '.join(columns)}, found {', '.join(rows[0]) if rows else 0}")
    return rows


def _read_run(folder: Path, content: dict[str, Any], score: str) -> RunResult:
    rows = _read_table(folder / results_file(score), ("case", "patient"))
    column = f"val_{score}"
    table = _read_table(folder / "metrics.csv", ("step", column))
    try:
        points = [(int(row["step"]), float(row[column])) for row in table if row[column]]
    except ValueError as error:
        raise InputError(
            f"{folder / 'metrics.csv'}: expected numbers under step and {column}, found {error}"
        ) from error
    curve = [(step, score) for step, score in points if not math.isnan(score)]
    return RunResult(float(content["seconds"]), int(content["training_cases"]), rows, curve)


def _same_cases(runs: dict[RunKey, RunResult], folders: dict[RunKey, Path]) -> tuple[list[str], list[str]]:
    """Sort the rows of all runs by case; returns the test cases and their patients."""
    first = next(iter(runs))
    expected = {row["case"]: row["patient"] for row in runs[first].rows}
    order = {case: index for index, case in enumerate(expected)}
    for key, run in runs.items():
        found = {row["case"]: row["patient"] for row in run.rows}
        if found != expected or len(found) != len(run.rows):
            raise InputError(
                f"{folders[key]}: expected the {len(expected)} test cases of {folders[first]}, found {len(run.rows)}, "
                f"{len(found.items() & expected.items())} of them the same"
            )
        run.rows.sort(key=lambda row: order[row["case"]])
    return list(expected), list(expected.values())
