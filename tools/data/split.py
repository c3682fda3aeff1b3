"""Reproducible splits into training, validation and test sets."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data.formats.images import open_image
from tools.data.formats.volumes import read_volume
from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.inputs import read_json, unreadable_error
from tools.utils.outputs import output_path

SPLITS = ("training", "validation")
LABELLED_SPLITS = (*SPLITS, "test")
#: output files of a training run; their paths are checked before any is written
FILES = ("split.json", "metrics.csv", "curves.png", "preview.png", "cases.png", "confusion.png", "roc.png")


class Split(dict[str, list[dict[str, Any]]]):
    """Cases by split. ``split.json`` with their ids is written separately, after all checks of a run.

    Args:
        subsets: cases that are used, under "training", "validation" and "test".
        recorded: cases whose ids are written to ``split.json``.
        output_dir: folder of ``split.json``, or None.
        split_file: the ``split.json`` that was read, which is not overwritten.
    """

    def __init__(
        self,
        subsets: Mapping[str, list[dict[str, Any]]],
        recorded: Mapping[str, list[dict[str, Any]]],
        output_dir: str | Path | None = None,
        split_file: str | Path | None = None,
    ) -> None:
        super().__init__(subsets)
        self.ids = {name: [case["case"] for case in members] for name, members in recorded.items()}
        paths = [] if output_dir is None else [output_path(output_dir, name) for name in FILES]
        same = split_file is not None and any(path.exists() and path.samefile(split_file) for path in paths[:1])
        self.path = paths[0] if paths and not same else None

    def write(self) -> None:
        """Write ``split.json`` on rank 0."""
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

    Patients are sorted by the SHA-256 of their id. The first ``round(fraction · n)`` patients are the validation set,
    at least one and at most all but one. If cases are added or removed, only patients at the boundary change. A
    threshold on the hash would change none, but small data sets would have an empty or a much too large validation set.

    Args:
        cases: cases, see `find_cases`.
        val_fraction: fraction of patients for validation, in (0, 1).
        split_file: an existing ``split.json`` to use instead; its "test" cases are excluded.
        output_dir: folder of ``split.json``, see `Split`.

    Returns:
        Cases under "training" and "validation", in input order.

    Raises:
        InputError: if there are fewer than two patients, the fraction is outside (0, 1), or the split file does not
            match the cases.
    """
    assigned = _by_hash(cases, val_fraction) if split_file is None else _by_file(cases, Path(split_file), SPLITS)
    subsets = {name: [case for case in cases if assigned[case["case"]] == name] for name in SPLITS}
    return Split(subsets, subsets, output_dir, split_file)


def split_labelled_cases(
    cases: Sequence[dict[str, Any]],
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    label_fraction: float = 1.0,
    seed: int = 0,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
    stratify_by: str | None = None,
    fold: int = 0,
) -> Split:
    """Split labelled cases by patient into training, validation and test sets.

    Validation and test patients depend on the hash of their ids only, not on the seed or the label fraction. The
    subset of the training patients depends on the seed; for a seed, smaller fractions are subsets of larger ones.

    Args:
        cases: cases, see `find_labelled_cases`.
        val_fraction: fraction of patients for validation, in (0, 1).
        test_fraction: fraction of patients for testing; 1 for all, to evaluate on another data set.
        label_fraction: fraction of the training patients that is used, in (0, 1]; at least one patient.
        seed: random seed of the label fraction.
        split_file: an existing ``split.json`` with "training", "validation" and "test" to use instead.
        output_dir: folder of ``split.json``, see `Split`.
        stratify_by: key of the cases for stratification; a patient has the largest value of its cases.
        fold: index of the test fold. With a `test_fraction` of 0.2, the folds 0 to 4 test every patient once. Folds
            above 0 require at least as many patients as folds.

    Returns:
        Cases under "training", "validation" and "test", in input order.

    Raises:
        InputError: if there are too few patients, a fraction is out of range, or the split file does not match the
            cases.
    """
    if test_fraction == 1 and split_file is None:
        subsets = {"training": [], "validation": [], "test": list(cases)}
        return Split(subsets, subsets)
    if split_file is None:
        assigned = _by_hash_with_test(cases, val_fraction, test_fraction, stratify_by, fold)
    else:
        assigned = _by_file(cases, Path(split_file), LABELLED_SPLITS)
    return build_split(cases, assigned, label_fraction, seed, output_dir, stratify_by, split_file)


def build_split(
    cases: Sequence[dict[str, Any]],
    assigned: Mapping[str, str],
    label_fraction: float = 1.0,
    seed: int = 0,
    output_dir: str | Path | None = None,
    stratify_by: str | None = None,
    split_file: str | Path | None = None,
) -> Split:
    """Build a split from an assignment of cases, with a fraction of the training patients.

    Args:
        cases: labelled cases.
        assigned: "training", "validation" or "test" by case id; cases with any other value are excluded.
        label_fraction: fraction of the training patients that is used.
        seed: random seed of the label fraction.
        output_dir: folder of ``split.json``, or None.
        stratify_by: key of the cases for stratification of the label fraction.
        split_file: the ``split.json`` that was read, which is not overwritten.

    Raises:
        InputError: if the label fraction is out of range, and as `tools.utils.outputs.output_path`.
    """
    subsets = {name: [case for case in cases if assigned[case["case"]] == name] for name in LABELLED_SPLITS}
    training = _label_subset(subsets["training"], label_fraction, seed, stratify_by)
    # the file lists all training cases, since `label_fraction` is applied again when it is read
    return Split({**subsets, "training": training}, subsets, output_dir, split_file)


def _by_hash_with_test(
    cases: Sequence[dict[str, Any]], validation: float, test: float, stratify_by: str | None, fold: int
) -> dict[str, str]:
    check_fraction("val_fraction", validation)
    check_fraction("test_fraction", test)
    folds = int(1 / test + 1e-6)
    if fold not in range(folds):
        raise InputError(f"fold: expected 0 to {folds - 1} with test_fraction {test}, found {fold}")
    patients = order_patients(cases, "", stratify_by)
    starts = [round(k * test * len(patients)) for k in range(folds + 1)]
    if fold and len(set(starts)) <= folds:  # empty folds; fold 0 alone is always valid
        raise InputError(
            f"fold: expected at least {math.ceil(1 / test - 1e-6)} patients for {folds} folds (test_fraction {test}), "
            f"found {len(patients)}; increase test_fraction for fewer folds"
        )
    first, end = starts[fold : fold + 2]
    patients = patients[first:] + patients[:first]
    counts = [max(1, count) for count in (end - first, round(validation * len(patients)))]
    if sum(counts) >= len(patients):
        raise InputError(
            f"dataset_dir: expected training patients besides {counts[1]} for validation and {counts[0]} for testing "
            f"(val_fraction {validation}, test_fraction {test}), found {len(patients)} in total ({len(cases)} cases); "
            "a split_file may split the cases of one patient"
        )
    return _assign(cases, patients[counts[0] : sum(counts)], patients[: counts[0]])


def check_fraction(name: str, fraction: float) -> None:
    """Raise `InputError` unless a fraction is in (0, 1)."""
    if not 0 < fraction < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, found {fraction}")


def _assign(cases: Sequence[dict[str, Any]], validation: Sequence[str], test: Sequence[str] = ()) -> dict[str, str]:
    """Return the split of each case, given validation and test patients."""
    splits = dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
    return {case["case"]: splits.get(case["patient"], "training") for case in cases}


def _label_subset(
    cases: Sequence[dict[str, Any]], fraction: float, seed: int, stratify_by: str | None
) -> list[dict[str, Any]]:
    if not 0 < fraction <= 1:
        raise InputError(f"label_fraction: expected a number above 0, up to 1, found {fraction}")
    patients = order_patients(cases, f"{seed}/", stratify_by)
    chosen = set(patients[: max(1, round(fraction * len(patients)))])
    return [case for case in cases if case["patient"] in chosen]


def order_patients(cases: Sequence[dict[str, Any]], prefix: str = "", stratify_by: str | None = None) -> list[str]:
    """Return patients sorted by the hash of their id; with `stratify_by`, every prefix of the list is stratified."""
    values: dict[str, Any] = {}
    for case in cases:
        value = case.get(stratify_by) if stratify_by else 0
        if value is None:
            raise InputError(
                f"stratify_by: expected a key of all cases, found {stratify_by!r}, which {case['case']} lacks"
            )
        values[case["patient"]] = max(value, values.get(case["patient"], value))
    hashes = {
        patient: hashlib.sha256((prefix + patient).encode(errors="surrogateescape")).hexdigest() for patient in values
    }
    sizes, seen, ranks = Counter(values.values()), Counter(), {}
    for patient in sorted(values, key=hashes.__getitem__):
        ranks[patient] = ((seen[values[patient]] + 0.5) / sizes[values[patient]], hashes[patient])
        seen[values[patient]] += 1
    return sorted(values, key=ranks.__getitem__)


def _by_hash(cases: Sequence[dict[str, Any]], fraction: float) -> dict[str, str]:
    check_fraction("val_fraction", fraction)
    patients = order_patients(cases)
    if len(patients) < 2:
        if len(cases) == 1:
            _check_readable(cases[0])
        raise InputError(
            f"dataset_dir: expected at least 2 patients, for training and validation, found {len(patients)} "
            f"({len(cases)} cases); a split_file may split the cases of one patient"
        )
    count = min(max(1, round(fraction * len(patients))), len(patients) - 1)
    return _assign(cases, patients[:count])


def _check_readable(case: Mapping[str, Any]) -> None:
    """Read the file of a single case, since the error of a damaged file comes before that of too few patients."""
    path = str(case["image"])
    if path.lower().endswith(VOLUME_SUFFIXES):
        read_volume(path)
    elif path.lower().endswith(IMAGE_SUFFIXES):
        try:
            with open_image(path) as image:
                image.load()
        except OSError as error:
            raise unreadable_error(path, "image", error) from error


def _by_file(cases: Sequence[dict[str, Any]], path: Path, splits: Sequence[str]) -> dict[str, str]:
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"split_file {error}") from error
    valid = isinstance(content, dict) and {*splits} <= content.keys() <= {*LABELLED_SPLITS}
    lists = list(content.values()) if valid else []
    if not valid or not all(isinstance(ids, list) and ids and all(isinstance(i, str) for i in ids) for ids in lists):
        raise InputError(f"split_file {path}: expected case ids under {' and '.join(map(repr, splits))}")
    named = [case for ids in lists for case in ids]
    known = {case["case"] for case in cases}
    problems = {
        "ids that are not in the data set": sorted(set(named) - known),
        "duplicate ids": sorted(case for case, count in Counter(named).items() if count > 1),
    }
    if splits is SPLITS:  # labelled cases may be omitted
        problems["cases of the data set without an entry"] = sorted(known - set(named))
    for problem, ids in problems.items():
        if ids:
            raise InputError(f"split_file {path}: {len(ids)} {problem}: {', '.join(ids[:5])}")
    return dict.fromkeys(known, "") | {case: name for name, ids in content.items() for case in ids}
