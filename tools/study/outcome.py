"""Loading of a study from disk: plan, finished runs and failed runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.study.plan import read_plan
from tools.study.records import RESULTS, RunKey, RunResult, read_records
from tools.utils.errors import InputError


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


def read_outcome(study_dir: str | Path) -> Outcome:
    """Read the finished and failed runs of a study; runs outside the plan are ignored.

    Args:
        study_dir: folder with ``plan.json``, ``runs.csv`` and ``results.csv``.

    Raises:
        InputError: if there is no plan or no finished run, if a file is missing or incomplete, or if the test cases of
            the runs differ.
    """
    study_dir = Path(study_dir)
    plan = read_plan(study_dir / "plan.json")
    initialisations, fractions, seeds = plan["arms"], sorted(plan["fractions"]), plan["seeds"]
    grid = [RunKey(arm["name"], fraction, seed) for arm in initialisations for fraction in fractions for seed in seeds]
    records = read_records(study_dir)
    runs = {key: records.runs[key] for key in grid if key in records.runs}
    errors = {key: records.errors[key] for key in grid if key in records.errors}
    if not runs:
        first = f", the first of {len(errors)} errors: {next(iter(errors.values()))}" if errors else ""
        raise InputError(f"{study_dir}: expected at least one finished run of {len(grid)}, found none{first}")
    cases = _same_cases(study_dir, runs)
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


def _same_cases(study_dir: Path, runs: dict[RunKey, RunResult]) -> tuple[list[str], list[str]]:
    """Sort the rows of all runs by case; returns the test cases and their patients."""
    first = next(iter(runs))
    expected = {row["case"]: row["patient"] for row in runs[first].rows}
    order = {case: index for index, case in enumerate(expected)}
    for key, run in runs.items():
        found = {row["case"]: row["patient"] for row in run.rows}
        if found != expected or len(found) != len(run.rows):
            raise InputError(
                f"{study_dir / RESULTS}: expected the {len(expected)} test cases of {tuple(first)} in {tuple(key)}, "
                f"found {len(run.rows)}, "
                f"{len(found.items() & expected.items())} of them the same"
            )
        run.rows.sort(key=lambda row: order[row["case"]])
    return list(expected), list(expected.values())
