"""Splits of lung nodules: by patient, or the published split with a report of its leakage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.data.official_split import SPLIT_MODES, check_single_fold, split_official_cases
from tools.data.readers.base import Folder
from tools.data.readers.matching import FileIndex
from tools.data.readers.tables import find_tables, read_table
from tools.data.split import Split, build_split, check_fraction, order_patients
from tools.utils.errors import InputError, check_choice

COLUMNS = ("train", "test")


class PublishedSplit(NamedTuple):
    """Content of a published split table.

    Attributes:
        assigned: "train", "test" or an empty string by case id.
        test_rows: number of rows under "test", also of nodules that are not in the data set.
        repeated: number of these rows that repeat an earlier one.
        test_patients: number of patients with test cases.
        shared: number of patients with both training and test cases.
    """

    assigned: dict[str, str]
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
    """Split nodules into training, validation and test sets, stratified by label.

    Args:
        cases: cases, see `find_nodules`.
        dataset_dir: folder of the cases and of the published split table.
        split_by: "patient" assigns all nodules of a patient to one set. "published" uses ``train_test_split.csv`` (any
            table with the columns "train" and "test") or the split of a MedMNIST file and ignores `test_fraction`.
            "auto" splits by patient if patients are known.
        val_fraction: fraction of patients for validation; of the training patients for a published split without
            validation set.
        test_fraction: fraction of patients for testing; 1 for all.
        label_fraction: fraction of the training patients that is used, in (0, 1]; for a seed, smaller fractions are
            subsets of larger ones.
        seed: random seed of the label fraction.
        split_file: an existing ``split.json`` to use instead.
        output_dir: folder of ``split.json``, see `Split`.
        fold: index of the test fold of a split by patient.

    Returns:
        Cases under "training", "validation" and "test".

    Raises:
        InputError: as `split_labelled_cases`, and if the published split is missing or contradictory, or patients are
            unknown for a split by patient.
    """
    official = any("split" in case for case in cases)
    published = check_choice(split_by, SPLIT_MODES, "split_by") == "published" or (split_by == "auto" and official)
    given = split_file is not None or test_fraction == 1
    if official and not published and not given:
        raise InputError(f"split_by: expected 'auto' or 'published', since the patients in {dataset_dir} are unknown")
    if given or not published or official:
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        options = {"label_fraction": label_fraction, "seed": seed, "split_file": split_file, "output_dir": output_dir}
        return split_official_cases(cases, split_by, **fractions, **options, fold=fold, stratify_by="label")
    check_single_fold(fold)
    assigned = _with_validation(cases, read_published_split(dataset_dir, cases).assigned, val_fraction)
    return build_split(cases, assigned, label_fraction, seed, output_dir, "label")


def read_published_split(dataset_dir: str | Path, cases: Sequence[dict[str, Any]]) -> PublishedSplit:
    """Read a published split and print its problems: repeated rows and shared patients.

    Args:
        dataset_dir: folder with one table with the columns "train" and "test".
        cases: cases, see `find_nodules`. Rows of other nodules are ignored. Cases in neither column are excluded.

    Raises:
        InputError: if there is no table or more than one, a nodule is in both columns, or a column has no case.
    """
    folder = Folder.open(dataset_dir, "nodules with a published split")
    tables = find_tables(folder, COLUMNS)
    if len(tables) != 1:
        found = ", ".join(map(folder.relative, tables)) or "none"
        where = f"dataset_dir {folder.root}"
        raise InputError(f"{where}: expected one table with the columns train and test, found {found}")
    rows = _rows(folder, tables[0], cases)
    places = {column: dict(reversed(rows[column])) for column in COLUMNS}  # first line of each name
    if both := sorted(places["train"].keys() & places["test"].keys()):
        lines = " and ".join(str(places[column][both[0]]) for column in COLUMNS)
        raise InputError(f"{tables[0]}: expected {both[0]} in one column, found it in both (lines {lines})")
    assigned = {name: column for column in COLUMNS for name in places[column]}
    patients = {c: {case["patient"] for case in cases if assigned.get(case["case"]) == c} for c in COLUMNS}
    for column, members in patients.items():
        if not members:
            raise InputError(f"{tables[0]}: expected nodules of the data set under {column}, found none")
    split = PublishedSplit(
        assigned={case["case"]: assigned.get(case["case"], "") for case in cases},
        test_rows=len(rows["test"]),
        repeated=len(rows["test"]) - len(places["test"]),
        test_patients=len(patients["test"]),
        shared=len(patients["test"] & patients["train"]),
    )
    _report(tables[0], split)
    return split


def _rows(folder: Folder, table: Path, cases: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Return case ids (names for other nodules) and line numbers by column; the columns may differ in length."""
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
    print(f"note: {path.name}: {split.repeated} of {split.test_rows} test rows are duplicates and are ignored")
    if split.shared:
        print(
            f"warning: {path.name}: {split.shared} of {split.test_patients} test patients are also in the training "
            "set, so scores are optimistic; --split_by patient avoids this"
        )
    if excluded := sum(not column for column in split.assigned.values()):
        print(f"note: {path.name}: {excluded} nodules that are not in this table are excluded")


def _with_validation(cases: Sequence[dict[str, Any]], assigned: Mapping[str, str], fraction: float) -> dict[str, str]:
    """Return the split of each case; the validation set is a fraction of the training patients."""
    check_fraction("val_fraction", fraction)
    patients = order_patients([case for case in cases if assigned[case["case"]] == "train"], stratify_by="label")
    if len(patients) < 2:
        raise InputError(f"split_by: expected at least 2 patients to train and validate on, found {len(patients)}")
    validating = set(patients[: min(max(1, round(fraction * len(patients))), len(patients) - 1)])
    splits = dict(assigned)
    for case in cases:
        if assigned[case["case"]] == "train":
            splits[case["case"]] = "validation" if case["patient"] in validating else "training"
    return splits
