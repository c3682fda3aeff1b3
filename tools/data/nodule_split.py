"""Parts of a set of lung nodules: by patient, or the split it was published with, whose leaks are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.data.official_split import SPLITS, refuse_folds, split_official_cases
from tools.data.readers.base import Folder
from tools.data.readers.matching import FileIndex
from tools.data.readers.tables import find_tables, read_table
from tools.data.split import Split, check_part, order_patients, take_parts
from tools.utils.errors import InputError, check_choice

COLUMNS = ("train", "test")


class PublishedSplit(NamedTuple):
    """What a published table says of some cases.

    Attributes:
        sides: "train" or "test" by case id.
        test_rows: rows under "test", of cases and others.
        repeated: how many of those repeat an earlier one.
        test_patients: patients of the cases tested on.
        shared: patients of the cases both trained and tested on.
    """

    sides: dict[str, str]
    test_rows: int
    repeated: int
    test_patients: int
    shared: int


def split_nodules(
    cases: Sequence[dict[str, Any]],
    dataset_dir: str | Path,
    split_by: str = "auto",
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    label_fraction: float = 1.0,
    seed: int = 0,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
    fold: int = 0,
) -> Split:
    """Split nodules into training, validation and test, labels in proportion.

    Args:
        cases: as `find_nodules` gives them.
        dataset_dir: where they were found; of the table of a published split.
        split_by: "patient" never has a patient in two parts; "published" follows ``train_test_split.csv`` (any table
            with the columns "train" and "test") or the parts of a MedMNIST file, whatever `test_fraction` says; "auto"
            is by patient where patients are known.
        val_fraction: share of the patients that validate; in a published split without a validation part, of
            those trained on.
        test_fraction: share of the patients that are tested on; 1 for all.
        label_fraction: share of the training patients that are used, in (0, 1]; smaller shares of one seed are parts of
            larger ones.
        seed: chooses which.
        split_file: a ``split.json`` to follow instead.
        output_dir: folder of ``split.json``, see `Split`.
        fold: by patient, which share of `test_fraction` is tested on.

    Returns:
        The cases under "training", "validation" and "test".

    Raises:
        InputError: as `split_labelled_cases`; also a published split that is missing or contradicts itself, and a split
            by patient where patients are not known.
    """
    official = any("part" in case for case in cases)
    published = check_choice(split_by, SPLITS, "split_by") == "published" or (split_by == "auto" and official)
    given = split_file is not None or test_fraction == 1
    if official and not published and not given:
        raise InputError(f"split_by: expected 'auto' or 'published', since {dataset_dir} says nothing of patients")
    if given or not published or official:
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        options = {"label_fraction": label_fraction, "seed": seed, "split_file": split_file, "output_dir": output_dir}
        return split_official_cases(cases, split_by, **fractions, **options, fold=fold, strata="label")
    refuse_folds(fold)
    sides = _with_validation(cases, read_published_split(dataset_dir, cases).sides, val_fraction)
    return take_parts(cases, sides, label_fraction, seed, output_dir, "label")


def read_published_split(dataset_dir: str | Path, cases: Sequence[dict[str, Any]]) -> PublishedSplit:
    """Read which cases were trained and tested on, and print what is wrong with that: repeated rows, shared patients.

    Args:
        dataset_dir: the folder, with one table that has the columns "train" and "test".
        cases: as `find_nodules` gives them; rows of other nodules are ignored; cases in neither column are in no
            part.

    Raises:
        InputError: no table or several, a nodule in both columns, or no case in one of them.
    """
    folder = Folder.open(dataset_dir, "nodules with a published split")
    tables = find_tables(folder, COLUMNS)
    if len(tables) != 1:
        found = ", ".join(map(folder.relative, tables)) or "none"
        where = f"dataset_dir {folder.root}"
        raise InputError(f"{where}: expected one table with the columns train and test, found {found}")
    rows = _rows(folder, tables[0], cases)
    places = {column: dict(reversed(rows[column])) for column in COLUMNS}  # the first line of every name
    if both := sorted(places["train"].keys() & places["test"].keys()):
        lines = " and ".join(str(places[column][both[0]]) for column in COLUMNS)
        raise InputError(f"{tables[0]}: expected {both[0]} in one column, found it in both (lines {lines})")
    sides = {name: column for column in COLUMNS for name in places[column]}
    patients = {c: {case["patient"] for case in cases if sides.get(case["case"]) == c} for c in COLUMNS}
    for column, members in patients.items():
        if not members:
            raise InputError(f"{tables[0]}: expected nodules of the data set under {column}, found none")
    split = PublishedSplit(
        sides={case["case"]: sides.get(case["case"], "") for case in cases},
        test_rows=len(rows["test"]),
        repeated=len(rows["test"]) - len(places["test"]),
        test_patients=len(patients["test"]),
        shared=len(patients["test"] & patients["train"]),
    )
    _report(tables[0], split)
    return split


def _rows(folder: Folder, table: Path, cases: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Case ids (of other nodules: names) with their lines by column; one column may be shorter than the other."""
    index = FileIndex(folder, (Path(case["image"]) for case in cases))
    ids = {case["image"]: case["case"] for case in cases}
    rows: dict[str, list[tuple[str, int]]] = {column: [] for column in COLUMNS}
    for line, cells in read_table(table, COLUMNS):
        for column in COLUMNS:
            if name := cells[column]:
                files = index.find(name, table)
                rows[column].append((ids[str(files[0])] if len(files) == 1 else name, line))
    return rows


def _report(path: Path, split: PublishedSplit) -> None:
    print(f"note: {path.name}: {split.repeated} of {split.test_rows} test rows repeat an earlier one and are dropped")
    if split.shared:
        print(
            f"warning: {path.name}: {split.shared} of {split.test_patients} test patients are trained on, too: scores "
            "on this split are optimistic; --split_by patient has no patient in two parts"
        )
    if left := sum(not side for side in split.sides.values()):
        print(f"note: {path.name}: {left} nodules that it does not name are excluded")


def _with_validation(cases: Sequence[dict[str, Any]], sides: Mapping[str, str], fraction: float) -> dict[str, str]:
    """Parts by case id: some of the patients trained on validate."""
    check_part("val_fraction", fraction)
    patients = order_patients([case for case in cases if sides[case["case"]] == "train"], strata="label")
    if len(patients) < 2:
        raise InputError(f"split_by: expected at least 2 patients to train and validate on, found {len(patients)}")
    validating = set(patients[: min(max(1, round(fraction * len(patients))), len(patients) - 1)])
    parts = dict(sides)
    for case in cases:
        if sides[case["case"]] == "train":
            parts[case["case"]] = "validation" if case["patient"] in validating else "training"
    return parts
