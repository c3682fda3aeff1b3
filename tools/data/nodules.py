"""Lung nodules with a label each: crops with a table of malignancies (LIDC-IDRI), or one file of all (MedMNIST)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tools.data import folders
from tools.data.formats.npz import array_names, array_shape, read_array
from tools.data.tables import find_tables, given_table, list_tables, read_lines, read_table
from tools.utils.errors import InputError

IMAGE_COLUMN, PATIENT_COLUMN, LABEL_COLUMN = "index", "uid", "malignancy_mode"  # of the published table
LABELS = {1: 0, 2: 0, 4: 1, 5: 1}
UNDECIDED, UNSCORED = 3, 0
NAME = re.compile(r"(lidc\d+)_\d+", re.IGNORECASE)
OFFICIAL_PARTS = {"train": "training", "val": "validation", "test": "test"}
MAX_NAMED = 3


class Row(NamedTuple):
    """One line of a table: where it stands, the nodule's and the patient's name, and the malignancy, 0 to 5."""

    line: int
    name: str
    patient: str
    malignancy: int


def find_nodules(
    dataset_dir: str | Path,
    label_file: str | Path | None = None,
    image_column: str | None = None,
    patient_column: str | None = None,
    label_column: str | None = None,
) -> list[dict[str, Any]]:
    """List the nodules that are benign (label 0) or malignant (label 1), sorted by case id.

    Two layouts are told apart by what the folder holds:

    - crops of LIDC-IDRI: a file ``lidc<scan>_<roi>.npz`` per nodule with its voxels (0 to 255) under "voxel", anywhere
      below the folder, and a CSV table with the columns "index" (the file's name), "uid" (the patient) and
      "malignancy_mode". Malignancies 1 and 2 are benign, 4 and 5 malignant; 3 is left out, and so is 0, which the
      published table holds where there is no score.
    - MedMNIST: a file such as ``nodulemnist3d.npz`` with "train_images" (N, D, H, W), "train_labels" and so on.

    Args:
        dataset_dir: the folder, or a MedMNIST file.
        label_file: the table, where the folder has several; relative to the folder if it lies there.
        image_column: the column of nodules' names; None for the published one.
        patient_column: the column of patients; None for the published one, and where there is none the scan in the
            nodule's name stands for the patient.
        label_column: the column of malignancies; None for the published one.

    Returns:
        For each nodule ``{"case": id, "patient": id, "image": path, "label": 0 or 1}``. Those of a MedMNIST file also
        have "array" and "index", where in the file they are, and "part", theirs in the official split.

    Raises:
        InputError: neither layout; a column, file or malignancy that is missing or wrong, with the line.
    """
    if Path(dataset_dir).expanduser().is_file():
        return _of_one_file(Path(dataset_dir).expanduser().absolute())
    root = folders.existing_folder(dataset_dir, "nodules")
    image, label = image_column or IMAGE_COLUMN, label_column or LABEL_COLUMN
    files = [file for _, members in folders.walk(root, []) for file in members if file.suffix.lower() == ".npz"]
    if not files:
        raise InputError(f"dataset_dir {root}: expected npz files of nodules, found none")
    tables = [given_table(root, label_file)] if label_file else find_tables(root, [image, label])
    if not tables and (collections := [file for file in files if _is_collection(file)]):
        if len(collections) > 1:
            found = ", ".join(file.name for file in collections[:MAX_NAMED])
            raise InputError(f"dataset_dir {root}: expected one MedMNIST file, found {found}; give the file itself")
        return _of_one_file(collections[0])
    if len(tables) != 1:
        raise _no_single_table(root, (image, label), tables)
    rows = list(_read(tables[0], image, patient_column, label))
    if unnamed := {file.stem for file in files} - {row.name for row in rows}:
        print(f"note: {root}: {len(unnamed)} npz files that {tables[0].name} does not name are left out")
    return _match(root, tables[0], _labelled(tables[0], rows), files)


def find_crops(dataset_dir: str | Path) -> list[dict[str, Any]]:
    """List nodules without labels: npz files of crops anywhere below a folder, or the one given, or a MedMNIST file.

    Args:
        dataset_dir: the folder or file.

    Returns:
        As `find_nodules`, without "label" and "part"; of crops the patient is the case.

    Raises:
        InputError: no npz files.
    """
    if Path(dataset_dir).expanduser().is_file():
        files = [Path(dataset_dir).expanduser().absolute()]
        root = files[0].parent
        folders.refuse_output("dataset_dir", files[0])
    else:
        root = folders.existing_folder(dataset_dir, "nodules")
        members = [file for _, files in folders.walk(root, []) for file in files if file.suffix.lower() == ".npz"]
        files = sorted(folders.without_outputs(root, members))
    if not files:
        raise InputError(f"dataset_dir {root}: expected npz files of nodules, found none")
    if len(files) == 1 and _is_collection(files[0]):
        kept = ("case", "patient", "image", "array", "index")
        return [{key: case[key] for key in kept} for case in _of_one_file(files[0])]
    cases = [file.relative_to(root).as_posix().removesuffix(file.suffix) for file in files]
    return [{"case": case, "patient": case, "image": str(file)} for case, file in zip(cases, files, strict=True)]


def _is_collection(path: Path) -> bool:
    try:
        return {"train_images", "train_labels"} <= set(array_names(path))
    except InputError:  # a damaged crop is reported when it is read
        return False


def _of_one_file(path: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for name, part in OFFICIAL_PARTS.items():
        array = f"{name}_images"
        for index, label in enumerate(_labels_of(path, name)):
            case = f"{name}_{index:05d}"
            place = {"image": str(path), "array": array, "index": index}
            cases.append({"case": case, "patient": case, **place, "label": label, "part": part})
    print(f"warning: {path}: says nothing of patients, so nodules of one may be trained and tested on")
    return sorted(cases, key=lambda case: case["case"])


def _labels_of(path: Path, name: str) -> list[int]:
    labels = read_array(path, f"{name}_labels")
    if labels.size != len(labels) or not labels.size:
        raise InputError(f"{path}: expected {name}_labels of size (N, 1), found {labels.shape}")
    labels = labels.ravel()
    for index, label in enumerate(labels):
        if label not in (0, 1):
            raise InputError(f"{path}: expected 0 (benign) or 1 (malignant) in {name}_labels[{index}], found {label}")
    shape = array_shape(path, f"{name}_images")
    if len(shape) != 4 or shape[0] != len(labels):
        raise InputError(f"{path}: expected {name}_images of size ({len(labels)}, D, H, W), found {shape}")
    return [int(label) for label in labels]


def _no_single_table(root: Path, columns: tuple[str, str], fitting: list[Path]) -> InputError:
    tables = fitting or list_tables(root)[:MAX_NAMED]
    found = "; ".join(f"{path.relative_to(root).as_posix()} ({','.join(read_lines(path)[0][1])})" for path in tables)
    return InputError(
        f"dataset_dir {root}: expected one table with the columns {' and '.join(columns)}, found "
        f"{found or 'no CSV file'}; name it with --label_file, its columns with --image_column, --patient_column and "
        "--label_column"
    )


def _read(path: Path, image: str, patient: str | None, label: str) -> Iterator[Row]:
    known = {name.lower() for name in read_lines(path)[0][1]}
    column = patient or (PATIENT_COLUMN if PATIENT_COLUMN in known else None)
    for line, cells in read_table(path, [image, label, *([column] if column else [])]):
        name = cells[image.lower()].removesuffix(".npz")
        try:
            malignancy = float(cells[label.lower()])
        except ValueError:
            malignancy = -1.0
        if malignancy not in (UNSCORED, UNDECIDED, *LABELS) or not name:
            raise InputError(
                f"{path}, line {line}: expected a nodule and a malignancy from 1 to 5, found {name!r} and "
                f"{cells[label.lower()]!r}"
            )
        yield Row(line, name, cells[column.lower()] if column else _scan(path, line, name), int(malignancy))
    if column is None:
        print(f"note: {path}: has no column of patients; the scan in a nodule's name stands for its patient")


def _scan(path: Path, line: int, name: str) -> str:
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{path}, line {line}: expected a name such as lidc12_3, which tells the scan, found {name!r}; name a "
            "column of patients with --patient_column"
        )
    return match.group(1)


def _labelled(path: Path, rows: list[Row]) -> dict[str, Row]:
    """The row of every nodule that has a label, by name; says what is left out."""
    found: dict[str, Row] = {}
    for row in rows:
        first = found.setdefault(row.name, row)
        if first[1:] != row[1:]:
            raise InputError(
                f"{path}, line {row.line}: expected one malignancy and patient of {row.name}, found {row.malignancy} "
                f"of {row.patient!r} here and {first.malignancy} of {first.patient!r} in line {first.line}"
            )
        if not row.patient:
            raise InputError(f"{path}, line {row.line}: expected the patient of {row.name}, found an empty cell")
    if twice := len(rows) - len(found):
        print(f"note: {path}: {twice} lines repeat an earlier one")
    counts = Counter(row.malignancy for row in found.values())
    if counts[UNDECIDED]:
        print(f"note: {path}: {counts[UNDECIDED]} nodules of malignancy {UNDECIDED}, undecided, are left out")
    if unscored := [f"{row.name} (line {row.line})" for row in found.values() if row.malignancy == UNSCORED]:
        print(f"warning: {path}: {len(unscored)} nodules without a score (0) left out: {_some(unscored)}")
    labelled = {name: row for name, row in found.items() if row.malignancy in LABELS}
    if not labelled:
        raise InputError(f"{path}: expected nodules of malignancy 1, 2, 4 or 5, found {len(rows)} lines and none")
    return labelled


def _match(root: Path, path: Path, rows: Mapping[str, Row], files: list[Path]) -> list[dict[str, Any]]:
    """Cases of the nodules that the table names."""
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.stem, []).append(file)
    for problem, names in (
        ("missing", [name for name in rows if name not in by_name]),
        ("in several places", [name for name in rows if len(by_name.get(name, [])) > 1]),
    ):
        if names:
            lines = _some([f"{name}.npz (line {rows[name].line})" for name in names])
            raise InputError(
                f"{path}: expected its {len(rows)} nodules in {root}, found {len(names)} {problem}: {lines}"
            )
    return [
        {
            "case": name,
            "patient": rows[name].patient,
            "image": str(by_name[name][0]),
            "label": LABELS[rows[name].malignancy],
        }
        for name in sorted(rows)
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
