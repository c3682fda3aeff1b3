"""What a study left on disk: its plan, the cells that are done and those that failed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tools.study.scores import answers_file
from tools.utils.errors import InputError

Row = dict[str, str]


class Key(NamedTuple):
    """Where a cell stands in the grid: initialisation, share of the labels, seed."""

    arm: str
    fraction: float
    seed: int


@dataclass(frozen=True)
class Result:
    """A training and evaluation that is done.

    Attributes:
        seconds: it took.
        training_cases: it had labels of.
        rows: of its table of test cases, in the order of the study's `Outcome.cases`.
        curve: step and validation score of every validation.
    """

    seconds: float
    training_cases: int
    rows: list[Row]
    curve: list[tuple[int, float]]


@dataclass(frozen=True)
class Outcome:
    """A study as far as it is done.

    Attributes:
        bundle: name of the downstream bundle.
        score: what is compared, higher is better.
        arms: of each initialisation ``name``, ``pretrained`` and ``protocol``; the first is training from scratch.
        fractions: shares of the labels, rising.
        seeds: of label subset and training.
        settings: keys of the bundle that all cells were run with.
        cells: those that are done.
        errors: of those that failed.
        cases: test cases, the same in all cells.
        patients: whose each of them is.
    """

    bundle: str
    score: str
    arms: list[dict[str, Any]]
    fractions: list[float]
    seeds: list[int]
    settings: dict[str, Any]
    cells: dict[Key, Result]
    errors: dict[Key, str]
    cases: list[str]
    patients: list[str]

    @property
    def names(self) -> list[str]:
        """Names of the arms, scratch first."""
        return [arm["name"] for arm in self.arms]

    @property
    def scratch(self) -> str:
        """Name of the arm that all others are compared with."""
        return self.names[0]

    @property
    def planned(self) -> int:
        """Number of cells of the whole grid."""
        return len(self.arms) * len(self.fractions) * len(self.seeds)

    @property
    def partial(self) -> str:
        """How much is done, as in "partial: 41 of 96 cells"; empty where all is."""
        done = len(self.cells)
        return "" if done == self.planned else f"partial: {done} of {self.planned} cells"

    def seeds_of(self, arm: str, fraction: float) -> list[int]:
        """Seeds an arm has at a share."""
        return [seed for seed in self.seeds if Key(arm, fraction, seed) in self.cells]

    def common_seeds(self, arm: str, fraction: float) -> list[int]:
        """Seeds that both an arm and scratch have at a share."""
        theirs = self.seeds_of(self.scratch, fraction)
        return [seed for seed in self.seeds_of(arm, fraction) if seed in theirs]

    def table(self) -> Iterator[dict[str, Any]]:
        """A row per cell and test case: where the cell stands, and the bundle's columns of the case."""
        for key, cell in self.cells.items():
            place = {**key._asdict(), "training_cases": cell.training_cases}
            for row in cell.rows:
                yield {**place, "case": row["case"], "patient": row["patient"], **row}


def read_outcome(study_dir: str | Path) -> Outcome:
    """Read what a study has left so far; cells that are not done, or not in the plan, are left out.

    Args:
        study_dir: folder with ``plan.json`` and ``cells``.

    Raises:
        InputError: there is no plan, no cell is done, a file of a done cell is missing or lacks something, or cells
            were tested on different cases.
    """
    study_dir = Path(study_dir)
    plan = _read_json(study_dir / "plan.json", ("bundle", "score", "arms", "fractions", "seeds"))
    arms, fractions, seeds = plan["arms"], sorted(plan["fractions"]), plan["seeds"]
    grid = [Key(arm["name"], fraction, seed) for arm in arms for fraction in fractions for seed in seeds]
    found = {}
    for path in sorted(study_dir.glob("cells/*/*/cell.json")):
        content = _read_json(path, ("arm", "fraction", "seed", "status"))
        found[Key(content["arm"], content["fraction"], content["seed"])] = (path.parent, content)
    done, errors = {}, {}
    for key in (key for key in grid if key in found):
        folder, content = found[key]
        if content["status"] == "done":
            done[key] = (folder, content)
        elif content["status"] == "failed":
            errors[key] = str(content.get("error") or "no error was kept")
    if not done:
        first = f", the first of {len(errors)} errors: {next(iter(errors.values()))}" if errors else ""
        raise InputError(f"{study_dir}: expected at least one finished cell of {len(grid)}, found none{first}")
    cells = {key: _read_cell(*place, plan["score"]) for key, place in done.items()}
    cases = _same_cases(cells, {key: place[0] for key, place in done.items()})
    return Outcome(
        plan["bundle"], plan["score"], arms, fractions, seeds, plan.get("settings") or {}, cells, errors, *cases
    )


def _read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a file in JSON, found {error}") from error
    _require(path, content, keys)
    return content


def _require(path: Path, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: expected {', '.join(keys)}, found no {', '.join(missing)}")


def _read_table(path: Path, columns: tuple[str, ...]) -> list[Row]:
    if not path.exists():
        raise InputError(f"{path}: expected a table of a cell that is done, found no file")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"{path}: expected rows with {', '.join(columns)}, found {', '.join(rows[0]) if rows else 0}")
    return rows


def _read_cell(folder: Path, content: dict[str, Any], score: str) -> Result:
    _require(folder / "cell.json", content, ("seconds", "training_cases"))
    rows = _read_table(folder / answers_file(score), ("case", "patient"))
    validated = f"val_{score}"
    curve = [
        (int(row["step"]), float(row[validated]))
        for row in _read_table(folder / "metrics.csv", ("step", validated))
        if row[validated] and not math.isnan(float(row[validated]))
    ]
    return Result(float(content["seconds"]), int(content["training_cases"]), rows, curve)


def _same_cases(cells: dict[Key, Result], folders: dict[Key, Path]) -> tuple[list[str], list[str]]:
    """Bring the rows of all cells into one order; return the test cases and their patients."""
    first = next(iter(cells))
    wanted = {row["case"]: row["patient"] for row in cells[first].rows}
    places = {case: place for place, case in enumerate(wanted)}
    for key, cell in cells.items():
        found = {row["case"]: row["patient"] for row in cell.rows}
        if found != wanted or len(found) != len(cell.rows):
            raise InputError(
                f"{folders[key]}: expected the {len(wanted)} test cases of {folders[first]}, found {len(cell.rows)}, "
                f"{len(found.items() & wanted.items())} of them the same"
            )
        cell.rows.sort(key=lambda row: places[row["case"]])
    return list(wanted), list(wanted.values())
