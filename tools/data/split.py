"""Training and validation cases, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import distributed
from tools.errors import InputError
from tools.files import whole_file

PARTS = ("training", "validation")


def split_cases(
    cases: Sequence[dict[str, Any]],
    validation_fraction: float = 0.1,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Split cases by patient.

    Patients are ordered by the SHA-256 of their id and the first ``round(fraction · n)`` of them validate (at least
    one, at most all but one). The order of two patients never depends on the others, so adding or removing cases moves
    only patients at the boundary; a threshold on the hash would move none, but gives small sets an empty or a far too
    large validation part.

    Args:
        cases: as `find_cases` gives them.
        validation_fraction: share of the patients that validate, in (0, 1).
        split_file: a ``split.json`` to follow instead.
        output_dir: where ``split.json`` is written (by rank 0), with the ids only.

    Returns:
        The cases under "training" and "validation", in the order given.

    Raises:
        InputError: fewer than two patients, a fraction outside (0, 1), or a split file that does not fit the cases.
    """
    sides = _by_hash(cases, validation_fraction) if split_file is None else _by_file(cases, Path(split_file))
    parts = {part: [case for case in cases if sides[case["case"]] == part] for part in PARTS}
    if output_dir is not None and distributed.rank() == 0:
        ids = {part: [case["case"] for case in parts[part]] for part in PARTS}
        with whole_file(Path(output_dir) / "split.json") as path:
            path.write_text(json.dumps(ids, indent=1), encoding="utf-8")
    return parts


def _by_hash(cases: Sequence[dict[str, Any]], fraction: float) -> dict[str, str]:
    if not 0 < fraction < 1:
        raise InputError(f"validation_fraction: expected a number between 0 and 1, found {fraction}")
    patients = sorted(
        {case["patient"] for case in cases}, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest()
    )
    if len(patients) < 2:
        raise InputError(
            f"dataset_dir: expected at least 2 patients, one to train and one to validate, found {len(patients)} "
            f"({len(cases)} cases); a split_file may divide the cases of one patient"
        )
    count = min(max(1, round(fraction * len(patients))), len(patients) - 1)
    validating = set(patients[:count])
    return {case["case"]: "validation" if case["patient"] in validating else "training" for case in cases}


def _by_file(cases: Sequence[dict[str, Any]], path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"split_file {path}: expected a JSON file, found {error}") from error
    fits = isinstance(content, dict) and sorted(content) == sorted(PARTS)
    if not fits or not all(isinstance(ids, list) and ids for ids in content.values()):
        raise InputError(f"split_file {path}: expected case ids under 'training' and 'validation'")
    named = [case for part in PARTS for case in content[part]]
    known = {case["case"] for case in cases}
    problems = {
        "ids that are not in the data set": sorted(set(named) - known),
        "cases of the data set that it does not name": sorted(known - set(named)),
        "ids it names twice": sorted(case for case, count in Counter(named).items() if count > 1),
    }
    for problem, ids in problems.items():
        if ids:
            raise InputError(f"split_file {path}: {len(ids)} {problem}: {', '.join(ids[:5])}")
    return {case: part for part in PARTS for case in content[part]}
