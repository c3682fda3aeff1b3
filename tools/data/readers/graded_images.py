"""Reader of images with a table of grades: EyePACS, APTOS 2019, IDRiD, Messidor and Messidor-2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tools.data.readers.base import Case, Folder, Reader
from tools.data.readers.class_folders import LABELLED_IMAGES
from tools.data.readers.masks import is_mask_name
from tools.data.readers.matching import FileIndex, Matches, check_matches, join_some, match_names
from tools.data.readers.patients import find_patients
from tools.data.readers.tables import Row, column_names, list_tables, read_header, read_table, resolve_table
from tools.utils.errors import InputError

NUM_GRADES = 5
#: image and grade columns of EyePACS, APTOS 2019, IDRiD and Messidor, Messidor-2
COLUMNS = (
    ("image", "level"),
    ("id_code", "diagnosis"),
    ("image name", "retinopathy grade"),
    ("image_id", "adjudicated_dr_grade"),
)
GRADABLE = "adjudicated_gradable"  # 0 for an ungradable image in Messidor-2
SUBMISSION = re.compile(r"sample_?submission", re.IGNORECASE)  # an example submission with the same columns
SETS = ("train", "test")  # words in the names of tables and folders of IDRiD
EXPECTED = "; ".join(map(",".join, COLUMNS))


class Columns(NamedTuple):
    """Column names of a table; None for the published names, or for no patient column."""

    image: str | None = None
    label: str | None = None
    patient: str | None = None

    def resolve(self, path: Path) -> tuple[str, str] | None:
        """Return the image and grade columns of a table in lower case; None if it lacks them."""
        names = set(column_names(path))
        pairs = [(self.image.lower(), self.label.lower())] if self.image and self.label else COLUMNS
        patient = {self.patient.lower()} if self.patient else set()
        return next((pair for pair in pairs if {*pair} | patient <= names), None)


class Grade(NamedTuple):
    """Row of a table: line number, grade (None if ungradable), and patient (empty without patient column)."""

    line: int
    grade: int | None
    patient: str


class GradedImages(Reader):
    """Folder of images and a table of grades.

    The columns follow EyePACS (``image,level``), APTOS 2019 (``id_code,diagnosis``), IDRiD and Messidor (``Image
    name,Retinopathy grade``) or Messidor-2 (``image_id,adjudicated_dr_grade``), or are set by arguments. Images can be
    in any subfolder, see `FileIndex`. Several tables are combined if they list different images, as in Messidor. For
    the two tables of IDRiD, images are searched in the folders of the training and test set, respectively.

    Args:
        folder: the data set.
        label_file: table; relative to the folder if it exists there.
        image_column: column of image names.
        label_column: column of grades, 0 to 4.
        patient_column: column of patients.
    """

    kind = LABELLED_IMAGES
    layout = f"images with a table of grades ({EXPECTED})"

    def __init__(
        self,
        folder: Folder,
        label_file: str | Path | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        patient_column: str | None = None,
    ) -> None:
        super().__init__(folder)
        if (image_column is None) != (label_column is None):
            raise InputError(
                f"image_column, label_column: expected both or none, found {image_column} and {label_column}"
            )
        self.label_file = label_file
        self.columns = Columns(image_column, label_column, patient_column)
        self._ungradable: set[Path] = set()

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether a table has published columns."""
        return any(Columns().resolve(path) for path in _tables(folder))

    def labels(self) -> dict[str, int]:
        """Return the grades by name."""
        return {str(grade): grade for grade in range(NUM_GRADES)}

    def cases(self) -> list[Case]:
        """List the images with grades under "label".

        Raises:
            InputError: if there is no table or more than one, or a column, image or grade is missing or invalid.
        """
        cases = [case for table in self.tables for case in self._cases(table, *self._match(table))]
        graded = {case["image"] for case in cases}
        rest = (one for one in self.images if str(one) not in graded and one not in self._ungradable)
        self.folder.ignore("images without a grade", rest)
        self.folder.ignore("ungradable images", self._ungradable)
        self.folder.mark_used(self.tables)
        return cases

    @cached_property
    def images(self) -> list[Path]:
        """Images without mask names."""
        masks = {one for one in self.folder.images if is_mask_name(self.folder.case_id(one))}
        self.folder.ignore("masks by name", masks)
        return [one for one in self.folder.images if one not in masks]

    @cached_property
    def tables(self) -> list[Path]:
        """Table with valid columns, one table for each of `SETS`, or several tables of different images."""
        if self.label_file is not None:
            return [resolve_table(self.folder, self.label_file)]
        tables = _tables(self.folder)
        found = [path for path in tables if self.columns.resolve(path)]
        if len(found) > 1 and sorted(map(_set_of, (path.stem for path in found))) != sorted(SETS):
            found = self._without_strays(found)
        if len(found) == 1 or sorted(_set_of(path.stem) for path in found) == sorted(SETS) or self._disjoint(found):
            return found
        listed = [f"{self.folder.relative(path)} ({','.join(read_header(path))})" for path in sorted(found or tables)]
        raise InputError(
            f"dataset_dir {self.folder.root}: expected one table with image and grade columns ({EXPECTED}), found "
            f"{join_some(listed) or 'no CSV file'}; set --label_file, --image_column and --label_column"
        )

    def _disjoint(self, tables: Sequence[Path]) -> bool:
        """Return whether the tables list different images."""
        names = [set(self._grades(table)) for table in tables]
        return bool(names) and len(set().union(*names)) == sum(map(len, names))

    def _without_strays(self, tables: Sequence[Path]) -> list[Path]:
        """Return the tables that list images of the folder, without duplicates."""
        index = FileIndex(self.folder, self.images)
        found: dict[frozenset[tuple[str, int | None, str]], Path] = {}
        for table in sorted(tables, key=lambda path: (len(path.name), path)):
            grades = self._grades(table)
            if any(index.find(name, table) for name in grades):
                found.setdefault(frozenset((name, one.grade, one.patient) for name, one in grades.items()), table)
        self.folder.ignore("other tables of grades", set(tables) - {*found.values()})
        return list(found.values()) or list(tables)

    def _grades(self, table: Path) -> dict[str, Grade]:
        """Return the rows by image name."""
        columns = self.columns.resolve(table)
        if columns is None:
            patient = f" and {self.columns.patient}" if self.columns.patient else ""
            expected = f"{self.columns.image},{self.columns.label}" if self.columns.image else EXPECTED
            found = ", ".join(column_names(table)) or "none"
            raise InputError(f"{table}: expected columns {expected}{patient}, found {found}")
        grades: dict[str, Grade] = {}
        for row in read_table(table, columns):
            name, grade = row.cells[columns[0]], self._grade(table, row, columns)
            first = grades.setdefault(name, grade)
            if first[1:] != grade[1:]:
                raise InputError(
                    f"{table}, line {row.line}: expected one grade of {name}, found {_describe(grade)} here and "
                    f"{_describe(first)} in line {first.line}"
                )
        return grades

    def _grade(self, table: Path, row: Row, columns: tuple[str, str]) -> Grade:
        name, text = (row.cells[column] for column in columns)
        patient = row.cells[self.columns.patient.lower()] if self.columns.patient else ""
        if row.cells.get(GRADABLE) == "0" and not text:
            return Grade(row.line, None, patient)
        if self.columns.patient and not patient:
            patient = self.columns.patient
            raise InputError(f"{table}, line {row.line}: expected a patient in column {patient}, found an empty cell")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if value not in range(NUM_GRADES) or not name:
            raise InputError(
                f"{table}, line {row.line}: expected an image and a grade from 0 to {NUM_GRADES - 1}, found "
                f"{name!r} and {text!r}"
            )
        return Grade(row.line, int(value), patient)

    def _match(self, table: Path) -> tuple[dict[str, Grade], Matches]:
        """Return the grades of a table and the matching images, restricted to the folders of its set if applicable."""
        word = _set_of(table.stem) if len(self.tables) > 1 else ""
        index = FileIndex(
            self.folder, (one for one in self.images if not word or _set_of(self.folder.relative(one)) == word)
        )
        grades = self._grades(table)
        self._ungradable.update(f for name, one in grades.items() if one.grade is None for f in index.find(name, table))
        graded = {name: one for name, one in grades.items() if one.grade is not None}
        if not graded:
            raise InputError(f"{table}: expected rows with images and grades, found {len(grades)} without a grade")
        matches = match_names(graded, lambda name: index.find(name, table))
        place = f"in folders named …{word}…" if word else f"in {self.folder.root}"
        places = {name: f"line {one.line}" for name, one in graded.items()}
        check_matches(table, f"images {place}", matches, places, self._advise(table, graded, word))
        return graded, matches

    def _advise(self, table: Path, names: Iterable[str], word: str) -> str:
        """Return advice to use a subfolder in which each image name is unique; empty without one."""
        for place in table.parents:
            if place == self.folder.root or not place.is_relative_to(self.folder.root):
                break
            within = [one for one in self.images if one.is_relative_to(place)]
            chosen = [one for one in within if not word or _set_of(self.folder.relative(one)) == word]
            index = FileIndex(Folder(place, within), chosen)
            if all(len(index.find(name, table)) == 1 for name in names):
                return f"; set dataset_dir to {self.folder.relative(place)}, which has each of them once"
        return ""

    def _cases(self, table: Path, grades: Mapping[str, Grade], matches: Matches) -> list[Case]:
        names: dict[Path, str] = {}
        for name, file in matches.files.items():
            first = names.setdefault(file, name)
            if grades[first][1:] != grades[name][1:]:
                raise InputError(
                    f"{table}, line {grades[name].line}: expected one grade of {file}, found {_describe(grades[name])} "
                    f"here and {_describe(grades[first])} in line {grades[first].line}"
                )
        ids = {file: self.folder.case_id(file) for file in names}
        patients = find_patients(list(ids.values()))
        return [
            {"case": ids[file], "patient": grades[name].patient or patients[ids[file]]}
            | {"image": str(file), "label": grades[name].grade}
            for file, name in names.items()
        ]


def _tables(folder: Folder) -> list[Path]:
    return [file for file in list_tables(folder) if not SUBMISSION.match(file.stem)]


def _set_of(path: str) -> str:
    """Return the word of `SETS` in a path; empty for none or both."""
    found = [word for word in SETS if word in path.lower()]
    return found[0] if len(found) == 1 else ""


def _describe(grade: Grade) -> str:
    text = "no grade" if grade.grade is None else str(grade.grade)
    return f"{text} of {grade.patient!r}" if grade.patient else text
