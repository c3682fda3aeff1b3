"""Training, validation and test cases, the same on every machine."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.outputs import output_path

PARTS = ("training", "validation")
LABELLED_PARTS = (*PARTS, "test")
#: files of a training run, whose paths are checked before the first is written
FILES = ("split.json", "metrics.csv", "curves.png", "preview.png", "cases.png", "confusion.png", "roc.png")


class Split(dict[str, list[dict[str, Any]]]):
    """Cases by part of the data, and the file of their ids, which a run writes once nothing can refuse it.

    Args:
        parts: cases that are used.
        recorded: cases whose ids the file lists.
        output_dir: folder of ``split.json``, or None.
        split_file: the ``split.json`` that was followed, which is not written over.
    """

    def __init__(
        self,
        parts: Mapping[str, list[dict[str, Any]]],
        recorded: Mapping[str, list[dict[str, Any]]],
        output_dir: str | Path | None = None,
        split_file: str | Path | None = None,
    ) -> None:
        super().__init__(parts)
        self.ids = {part: [case["case"] for case in members] for part, members in recorded.items()}
        paths = [] if output_dir is None else [output_path(output_dir, name) for name in FILES]
        followed = split_file is not None and any(path.exists() and path.samefile(split_file) for path in paths[:1])
        self.path = paths[0] if paths and not followed else None

    def write(self) -> None:
        """Write ``split.json``, on rank 0."""
        if self.path is not None and distributed.rank() == 0:
            with atomic_write(self.path) as path:
                path.write_text(json.dumps(self.ids, indent=1), encoding="utf-8")


def split_cases(
    cases: Sequence[dict[str, Any]],
    val_fraction: float = 0.2,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Split:
    """Split cases by patient.

    Patients are ordered by the SHA-256 of their id and the first ``round(fraction · n)`` of them validate (at least
    one, at most all but one). The order of two patients never depends on the others, so adding or removing cases moves
    only patients at the boundary; a threshold on the hash would move none, but gives small sets an empty or a far too
    large validation part.

    Args:
        cases: as `find_cases` gives them.
        val_fraction: share of the patients that validate, in (0, 1).
        split_file: a ``split.json`` to follow instead; cases it has under "test" are left out.
        output_dir: folder of ``split.json``, see `Split`.

    Returns:
        The cases under "training" and "validation", in the order given.

    Raises:
        InputError: fewer than two patients, a fraction outside (0, 1), or a split file that does not fit the cases.
    """
    sides = _by_hash(cases, val_fraction) if split_file is None else _by_file(cases, Path(split_file), PARTS)
    parts = {part: [case for case in cases if sides[case["case"]] == part] for part in PARTS}
    return Split(parts, parts, output_dir, split_file)


def split_labelled_cases(
    cases: Sequence[dict[str, Any]],
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    label_fraction: float = 1.0,
    seed: int = 0,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
    strata: str | None = None,
    fold: int = 0,
) -> Split:
    """Split cases with labels by patient into training, validation and test.

    Test and validation patients follow from the hash of their ids alone: whatever the seed and the share of labels, a
    folder has one test set. The share of the training labels that is used depends on the seed; smaller shares of one
    seed are parts of larger ones.

    Args:
        cases: as `find_labelled_cases` gives them.
        val_fraction: share of the patients that validate, in (0, 1).
        test_fraction: share of the patients that are tested on; 1 for all, to evaluate on another folder.
        label_fraction: share of the training patients that are used, in (0, 1]; at least one is.
        seed: chooses which.
        split_file: a ``split.json`` with "training", "validation" and "test" to follow instead.
        output_dir: folder of ``split.json``, see `Split`.
        strata: key of the cases whose values every part and share has in proportion (a patient counts with the
            largest).
        fold: which share of `test_fraction` is tested on: with 0.2, the folds 0 to 4 test every patient once. Folds
            above 0 need as many patients as there are folds.

    Returns:
        The cases under "training", "validation" and "test", in the order given.

    Raises:
        InputError: too few patients to train on or fewer than folds, a fraction out of range, or a split file that does
            not fit the cases.
    """
    if test_fraction == 1 and split_file is None:
        parts = {"training": [], "validation": [], "test": list(cases)}
        return Split(parts, parts)
    if split_file is None:
        sides = _by_hash_with_test(cases, val_fraction, test_fraction, strata, fold)
    else:
        sides = _by_file(cases, Path(split_file), LABELLED_PARTS)
    return take_parts(cases, sides, label_fraction, seed, output_dir, strata, split_file)


def take_parts(
    cases: Sequence[dict[str, Any]],
    sides: Mapping[str, str],
    label_fraction: float = 1.0,
    seed: int = 0,
    output_dir: str | Path | None = None,
    strata: str | None = None,
    split_file: str | Path | None = None,
) -> Split:
    """Give the cases of every part, and of the training part a share; arguments as for `split_labelled_cases`.

    Args:
        cases: cases with labels.
        sides: "training", "validation" or "test" by case id, or anything else for a case that is left out.
        label_fraction: share of the training patients that are used.
        seed: chooses which.
        output_dir: folder of ``split.json``, or None.
        strata: key of the cases whose values the share has in proportion.
        split_file: the ``split.json`` that was followed, which is not written over.

    Raises:
        InputError: a fraction out of range; see also `tools.utils.outputs.output_path`.
    """
    parts = {part: [case for case in cases if sides[case["case"]] == part] for part in LABELLED_PARTS}
    share = _share(parts["training"], label_fraction, seed, strata)
    return Split(
        {**parts, "training": share}, parts, output_dir, split_file
    )  # a share of the file would be taken again


def _by_hash_with_test(
    cases: Sequence[dict[str, Any]], validation: float, test: float, strata: str | None, fold: int
) -> dict[str, str]:
    check_part("val_fraction", validation)
    check_part("test_fraction", test)
    folds = int(1 / test + 1e-6)
    if fold not in range(folds):
        raise InputError(f"fold: expected 0 to {folds - 1} with test_fraction {test}, found {fold}")
    patients = order_patients(cases, "", strata)
    starts = [round(k * test * len(patients)) for k in range(folds + 1)]
    if fold and len(set(starts)) <= folds:  # folds without a patient of their own; fold 0 alone is a split as any other
        raise InputError(
            f"fold: expected at least {math.ceil(1 / test - 1e-6)} patients for {folds} folds (test_fraction {test}), "
            f"found {len(patients)}; a larger test_fraction makes fewer folds"
        )
    first, end = starts[fold : fold + 2]
    patients = patients[first:] + patients[:first]
    counts = [max(1, count) for count in (end - first, round(validation * len(patients)))]
    if sum(counts) >= len(patients):
        raise InputError(
            f"dataset_dir: expected patients to train on besides {counts[1]} to validate and {counts[0]} to test on "
            f"(val_fraction {validation}, test_fraction {test}), found {len(patients)} in all ({len(cases)} "
            "cases); a split_file may divide the cases of one patient"
        )
    return _sides(cases, patients[counts[0] : sum(counts)], patients[: counts[0]])


def check_part(name: str, fraction: float) -> None:
    """Raise an `InputError` for a share that leaves nothing on one side."""
    if not 0 < fraction < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, found {fraction}")


def _sides(cases: Sequence[dict[str, Any]], validating: Sequence[str], tested: Sequence[str] = ()) -> dict[str, str]:
    """Part by case id."""
    sides = dict.fromkeys(validating, "validation") | dict.fromkeys(tested, "test")
    return {case["case"]: sides.get(case["patient"], "training") for case in cases}


def _share(cases: Sequence[dict[str, Any]], fraction: float, seed: int, strata: str | None) -> list[dict[str, Any]]:
    if not 0 < fraction <= 1:
        raise InputError(f"label_fraction: expected a number above 0, up to 1, found {fraction}")
    patients = order_patients(cases, f"{seed}/", strata)
    chosen = set(patients[: max(1, round(fraction * len(patients)))])
    return [case for case in cases if case["patient"] in chosen]


def order_patients(cases: Sequence[dict[str, Any]], prefix: str = "", strata: str | None = None) -> list[str]:
    """Return patients by the hash of their id; given strata, so that every beginning has them in proportion."""
    values: dict[str, Any] = {}
    for case in cases:
        value = case.get(strata) if strata else 0
        if value is None:
            raise InputError(
                f"strata: expected a key that every case has, found {strata!r}, which {case['case']} lacks"
            )
        values[case["patient"]] = max(value, values.get(case["patient"], value))
    hashes = {
        patient: hashlib.sha256((prefix + patient).encode(errors="surrogateescape")).hexdigest() for patient in values
    }
    sizes, met, places = Counter(values.values()), Counter(), {}
    for patient in sorted(values, key=hashes.__getitem__):
        places[patient] = ((met[values[patient]] + 0.5) / sizes[values[patient]], hashes[patient])
        met[values[patient]] += 1
    return sorted(values, key=places.__getitem__)


def _by_hash(cases: Sequence[dict[str, Any]], fraction: float) -> dict[str, str]:
    check_part("val_fraction", fraction)
    patients = order_patients(cases)
    if len(patients) < 2:
        raise InputError(
            f"dataset_dir: expected at least 2 patients, one to train and one to validate, found {len(patients)} "
            f"({len(cases)} cases); a split_file may divide the cases of one patient"
        )
    count = min(max(1, round(fraction * len(patients))), len(patients) - 1)
    return _sides(cases, patients[:count])


def _by_file(cases: Sequence[dict[str, Any]], path: Path, parts: Sequence[str]) -> dict[str, str]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"split_file {path}: expected a JSON file, found {error}") from error
    fits = isinstance(content, dict) and {*parts} <= content.keys() <= {*LABELLED_PARTS}
    lists = list(content.values()) if fits else []
    if not fits or not all(isinstance(ids, list) and ids and all(isinstance(i, str) for i in ids) for ids in lists):
        raise InputError(f"split_file {path}: expected case ids under {' and '.join(map(repr, parts))}")
    named = [case for ids in lists for case in ids]
    known = {case["case"] for case in cases}
    problems = {
        "ids that are not in the data set": sorted(set(named) - known),
        "ids it names twice": sorted(case for case, count in Counter(named).items() if count > 1),
    }
    if parts is PARTS:  # of labelled cases a share may be named
        problems["cases of the data set that it does not name"] = sorted(known - set(named))
    for problem, ids in problems.items():
        if ids:
            raise InputError(f"split_file {path}: {len(ids)} {problem}: {', '.join(ids[:5])}")
    return dict.fromkeys(known, "") | {case: part for part, ids in content.items() for case in ids}
