"""Reader of LIDC-IDRI nodule crops with a table of malignancies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tools.data.readers.base import Case, Folder, Reader
from tools.data.readers.matching import FileIndex, check_matches, join_some, match_names
from tools.data.readers.medmnist import NODULES, MedMnist
from tools.data.readers.tables import column_names, find_tables, list_tables, read_header, read_table, resolve_table
from tools.utils.errors import InputError

IMAGE_COLUMN, PATIENT_COLUMN, LABEL_COLUMN = "index", "uid", "malignancy_mode"  # of the published table
LABELS = {1: 0, 2: 0, 4: 1, 5: 1}
INDETERMINATE, UNSCORED = 3, 0
NAME = re.compile(r"(?:.*[/\\])?(lidc\d+)_\d+(\.npz)?", re.IGNORECASE)


class Nodule(NamedTuple):
    """Row of a table: line number, patient, and malignancy, 0 to 5."""

    line: int
    patient: str
    malignancy: int


class LidcCrops(Reader):
    """File ``lidc<scan>_<roi>.npz`` per nodule, with voxels (0 to 255) under "voxel", and a table of malignancies.

    Malignancies 1 and 2 are benign (label 0), 4 and 5 malignant (label 1). Nodules with malignancy 3 (indeterminate) or
    0 (no score) are excluded.

    Args:
        folder: the data set.
        label_file: table, if the folder has several; relative to the folder if it exists there.
        image_column: column of nodule names; None for the published one.
        patient_column: column of patients; None for the published column, if any, or the scan in the name.
        label_column: column of malignancies; None for the published one.
    """

    kind = NODULES
    layout = f"npz crops with a table of malignancies ({IMAGE_COLUMN},{PATIENT_COLUMN},{LABEL_COLUMN})"

    def __init__(
        self,
        folder: Folder,
        label_file: str | Path | None = None,
        image_column: str | None = None,
        patient_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.label_file = label_file
        self.image_column = image_column or IMAGE_COLUMN
        self.label_column = label_column or LABEL_COLUMN
        self.patient_column = patient_column

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there are npz files and the published table."""
        return bool(folder.with_suffix(".npz") and find_tables(folder, [IMAGE_COLUMN, LABEL_COLUMN]))

    def labels(self) -> dict[str, int]:
        """Return the labels by name."""
        return dict(MedMnist.names)

    def cases(self) -> list[Case]:
        """List the benign and malignant nodules.

        Raises:
            InputError: if there are no crops or no table, or a column, file or malignancy is missing or invalid.
        """
        files = self.folder.with_suffix(".npz")
        if not files:
            raise InputError(f"dataset_dir {self.folder.root}: expected npz files of nodules, found none")
        index = FileIndex(self.folder, files)
        nodules = self._nodules()
        used = {name: one for name, one in nodules.items() if one.malignancy in LABELS}
        matches = match_names(used, lambda name: index.find(name, self.table))
        places = {name: f"line {one.line}" for name, one in used.items()}
        check_matches(self.table, f"nodules in {self.folder.root}", matches, places)
        for reason, malignancy in (("indeterminate nodules", INDETERMINATE), ("nodules without a score", UNSCORED)):
            names = [name for name, one in nodules.items() if one.malignancy == malignancy]
            self.folder.ignore(reason, (file for name in names for file in index.find(name, self.table)))
        self.folder.mark_used([self.table])
        cases: dict[Path, Case] = {}
        for name, file in matches.files.items():
            label = {"patient": used[name].patient, "label": LABELS[used[name].malignancy]}
            case = cases.setdefault(file, {"case": file.name.removesuffix(file.suffix), "image": str(file)} | label)
            if case | label != case:
                line = used[name].line
                raise InputError(f"{self.table}, line {line}: expected one malignancy and patient of {file}, found two")
        return list(cases.values())

    def has_table(self) -> bool:
        """Return whether a table is set or exists."""
        return self.label_file is not None or bool(find_tables(self.folder, [self.image_column, self.label_column]))

    @cached_property
    def table(self) -> Path:
        """Table of malignancies."""
        if self.label_file is not None:
            return resolve_table(self.folder, self.label_file)
        columns = [self.image_column, self.label_column]
        tables = find_tables(self.folder, columns)
        if len(tables) == 1:
            return tables[0]
        listed = [
            f"{self.folder.relative(path)} ({','.join(read_header(path))})"
            for path in sorted(tables) or [one for one in list_tables(self.folder) if column_names(one)]
        ]
        raise InputError(
            f"dataset_dir {self.folder.root}: expected one table with the columns {' and '.join(columns)}, found "
            f"{'; '.join(listed[:3]) or 'no CSV file'}; set --label_file, --image_column, --patient_column and "
            "--label_column"
        )

    def _nodules(self) -> dict[str, Nodule]:
        """Return the rows by nodule name."""
        patient = self.patient_column or (PATIENT_COLUMN if PATIENT_COLUMN in column_names(self.table) else None)
        columns = [self.image_column, self.label_column, *([patient] if patient else [])]
        found: dict[str, Nodule] = {}
        for line, cells in read_table(self.table, columns):
            name, text = cells[self.image_column.lower()], cells[self.label_column.lower()]
            owner = cells[patient.lower()] if patient else self._scan(line, name)
            nodule = Nodule(line, owner, self._malignancy(line, name, text))
            first = found.setdefault(name.removesuffix(".npz"), nodule)
            if first[1:] != nodule[1:]:
                raise InputError(
                    f"{self.table}, line {line}: expected one malignancy and patient of {name}, found "
                    f"{nodule.malignancy} of {owner!r} here and {first.malignancy} of {first.patient!r} in line "
                    f"{first.line}"
                )
        if patient is None:
            print(f"note: {self.table}: no patient column; the scan in the nodule name is used as patient")
        self._report(found)
        return found

    def _malignancy(self, line: int, name: str, text: str) -> int:
        try:
            malignancy = float(text)
        except ValueError:
            malignancy = -1.0
        if malignancy not in (UNSCORED, INDETERMINATE, *LABELS) or not name:
            raise InputError(
                f"{self.table}, line {line}: expected a nodule and a malignancy from 1 to 5, found {name!r} and "
                f"{text!r}"
            )
        return int(malignancy)

    def _scan(self, line: int, name: str) -> str:
        match = NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{self.table}, line {line}: expected a name with a scan, such as lidc12_3, found {name!r}; "
                "set --patient_column"
            )
        return match.group(1)

    def _report(self, nodules: Mapping[str, Nodule]) -> None:
        """Check for labels and patients, and print the number of nodules without a label."""
        if unnamed := [one for one in nodules.values() if not one.patient]:
            line = unnamed[0].line
            raise InputError(f"{self.table}, line {line}: expected the patient of a nodule, found an empty cell")
        if not any(one.malignancy in LABELS for one in nodules.values()):
            raise InputError(
                f"{self.table}: expected nodules of malignancy 1, 2, 4 or 5, found none in {len(nodules)} rows"
            )
        indeterminate = sum(one.malignancy == INDETERMINATE for one in nodules.values())
        if indeterminate:
            print(f"note: {self.table}: {indeterminate} nodules of malignancy {INDETERMINATE} (indeterminate) excluded")
        if unscored := [f"{n} (line {one.line})" for n, one in nodules.items() if one.malignancy == UNSCORED]:
            print(f"warning: {self.table}: {len(unscored)} nodules without a score (0) excluded: {join_some(unscored)}")


def unlabelled_crops(folder: Folder) -> list[Case]:
    """List nodules without labels: npz files in any subfolder, or the crops of a MedMNIST file.

    Raises:
        InputError: if there are no npz files.
    """
    files = folder.with_suffix(".npz")
    if not files:
        raise InputError(f"dataset_dir {folder.root}: expected npz files of nodules, found none")
    if len(files) == 1 and MedMnist.detect(folder):
        return _without_labels(MedMnist(folder).cases())
    cases = [folder.relative(file)[: -len(file.suffix)] for file in files]
    return [{"case": case, "patient": case, "image": str(file)} for case, file in zip(cases, files, strict=True)]


def _without_labels(cases: Iterable[Case]) -> list[Case]:
    return [{key: value for key, value in case.items() if key not in ("label", "split")} for case in cases]
