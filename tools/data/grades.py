"""Photographs with a grade each: a folder of pictures and a table, as the public sets of retinal photographs come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.data import folders
from tools.data.pictures import find_pictures
from tools.data.tables import given_table, list_tables, read_lines
from tools.utils.errors import InputError

NUM_GRADES = 5
#: columns of picture and grade in EyePACS, APTOS 2019, IDRiD and Messidor, Messidor-2
COLUMNS = (
    ("image", "level"),
    ("id_code", "diagnosis"),
    ("image name", "retinopathy grade"),
    ("image_id", "adjudicated_dr_grade"),
)
SUBMISSION = re.compile(r"sample_?submission", re.IGNORECASE)  # an example of answers, with the same columns
SETS = ("train", "test")  # words that tell which table of IDRiD speaks of which folder
MAX_NAMED = 3


class Columns(NamedTuple):
    """Names of a table's columns, None where they are not said."""

    image: str | None = None
    label: str | None = None
    patient: str | None = None


class Row(NamedTuple):
    """One line of a table: where it stands, a picture, its grade (None: ungradable), its patient ("": not said)."""

    line: int
    name: str
    grade: int | None
    patient: str


def find_graded_pictures(
    dataset_dir: str | Path,
    label_file: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    patient_column: str | None = None,
) -> list[dict[str, Any]]:
    """List the pictures of a folder that a table grades, sorted by case id.

    The table is a CSV file with commas, semicolons or tabs, in the folder or named. Its columns are recognised by the
    header of EyePACS (``image,level``), APTOS 2019 (``id_code,diagnosis``), IDRiD and Messidor (``Image name,
    Retinopathy grade``), Messidor-2 (``image_id,adjudicated_dr_grade``), or named. Pictures lie anywhere below the
    folder; the table may name them with or without a suffix. IDRiD's two tables are read together: the one of the
    training set grades the pictures in folders of the training set, the one of the test set the others.

    Args:
        dataset_dir: the folder.
        label_file: the table; relative to the folder if it lies there.
        image_column: the column of names.
        label_column: the column of grades, 0 to 4.
        patient_column: the column that says whose eye it is, where the pictures' names do not.

    Returns:
        As `find_pictures`, with the grade under "label".

    Raises:
        InputError: no table or several; a column, picture or grade that is missing or wrong, with the line.
    """
    root = folders.existing_folder(dataset_dir, "pictures with a table of grades")
    wanted = Columns(image_column, label_column, patient_column)
    if (image_column is None) != (label_column is None):
        raise InputError(f"image_column, label_column: expected both or none, found {image_column} and {label_column}")
    tables = _find_tables(root, wanted) if label_file is None else [given_table(root, label_file)]
    pictures = find_pictures(root)
    graded = []
    for table in tables:
        word = _set_of(table.stem) if len(tables) > 1 else ""
        of_set = [one for one in pictures if not word or _set_of(one["case"]) == word]
        place = f"in folders named …{word}…" if word else "below the folder"
        graded += _match(table, _grades(table, list(_read(table, wanted))), of_set, place)
    if left := len(pictures) - len(graded):
        print(f"note: {root}: {left} pictures that are not in {' or '.join(t.name for t in tables)} are left out")
    return sorted(graded, key=lambda case: case["case"])


def _find_tables(root: Path, wanted: Columns) -> list[Path]:
    """The one table with the right columns, or one for each of `SETS`."""
    tables = [file for file in list_tables(root) if not SUBMISSION.match(file.stem)]
    fitting = [path for path in tables if _fits(path, wanted)]
    if len(fitting) == 1 or sorted(_set_of(path.stem) for path in fitting) == sorted(SETS):
        return fitting
    found = ", ".join(path.relative_to(root).as_posix() for path in fitting or tables) or "no CSV file"
    known = "; ".join(",".join(pair) for pair in COLUMNS)
    raise InputError(
        f"dataset_dir {root}: expected one table with columns of pictures and grades ({known}), found {found}; "
        "name it with --label_file, its columns with --image_column and --label_column"
    )


def _set_of(path: str) -> str:
    """The word of `SETS` in a path, or nothing where it has none or both."""
    found = [word for word in SETS if word in path.lower()]
    return found[0] if len(found) == 1 else ""


def _fits(path: Path, wanted: Columns) -> bool:
    try:
        _columns(path, read_lines(path)[0][1], wanted)
    except InputError:  # some other table
        return False
    return True


def _columns(path: Path, header: Sequence[str], wanted: Columns) -> tuple[int, int, int | None]:
    """Places of the columns of names, grades and, if it is asked for, patients in a header."""
    names = [name.lower() for name in header]
    pairs = [(wanted.image.lower(), wanted.label.lower())] if wanted.image and wanted.label else COLUMNS
    patient = wanted.patient.lower() if wanted.patient else None
    for image, label in pairs:
        if image in names and label in names and (patient is None or patient in names):
            return names.index(image), names.index(label), None if patient is None else names.index(patient)
    expected = " or ".join(",".join(pair) for pair in pairs) + (f" and {wanted.patient}" if patient else "")
    raise InputError(f"{path}: expected columns {expected}, found {', '.join(header) or 'none'}")


def _read(path: Path, wanted: Columns) -> Iterator[Row]:
    (_, header), *rows = read_lines(path)
    image, label, patient = _columns(path, header, wanted)
    names = [name.lower() for name in header]
    gradable = names.index("adjudicated_gradable") if "adjudicated_gradable" in names else None
    for line, row in rows:
        cells = row + [""] * (len(header) - len(row))
        whose = "" if patient is None else cells[patient]
        if gradable is not None and cells[gradable] == "0" and not cells[label]:
            yield Row(line, cells[image], None, whose)
            continue
        if patient is not None and not whose:
            raise InputError(f"{path}, line {line}: expected a patient under {wanted.patient}, found nothing")
        try:
            value = float(cells[label])
        except ValueError:
            value = -1.0
        if value not in range(NUM_GRADES) or not cells[image]:
            raise InputError(
                f"{path}, line {line}: expected a picture and a grade from 0 to {NUM_GRADES - 1}, found "
                f"{cells[image]!r} and {cells[label]!r}"
            )
        yield Row(line, cells[image], int(value), whose)


def _grades(path: Path, rows: Sequence[Row]) -> dict[str, Row]:
    """The row of every picture's name; says what is ungradable or stands there twice."""
    grades: dict[str, Row] = {}
    twice = 0
    for row in rows:
        first = grades.setdefault(row.name, row)
        twice += first is not row
        if first.grade != row.grade:
            raise InputError(
                f"{path}, line {row.line}: expected one grade of {row.name}, found {row.grade} here and {first.grade} "
                f"in line {first.line}"
            )
    ungradable = [name for name, row in grades.items() if row.grade is None]
    if ungradable:
        print(f"note: {path}: {len(ungradable)} ungradable pictures are left out: {', '.join(ungradable[:MAX_NAMED])}")
    if twice:
        print(f"note: {path}: {twice} lines repeat an earlier one")
    if len(ungradable) == len(grades):
        raise InputError(f"{path}: expected lines with pictures and grades, found {len(rows)}")
    return {name: row for name, row in grades.items() if row.grade is not None}


def _stem(name: str) -> str:
    """Name of a picture without folders and suffix; nothing for a path that leaves the folder."""
    return "" if ".." in re.split(r"[/\\]", name) else Path(name).stem.lower()


def _match(path: Path, grades: dict[str, Row], pictures: Sequence[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    """Cases of the pictures that the table names."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for picture in pictures:
        file = Path(picture["image"])
        for name in {file.name.lower(), file.stem.lower(), picture["case"].lower()}:
            by_name.setdefault(name, []).append(picture)
    found = {name: by_name.get(name.lower()) or by_name.get(_stem(name), []) for name in grades}
    for problem, names in (
        ("missing", [name for name, matches in found.items() if not matches]),
        ("in several places", [name for name, matches in found.items() if len(matches) > 1]),
    ):
        if names:
            lines = ", ".join(f"{name} (line {grades[name].line})" for name in names[:MAX_NAMED])
            raise InputError(
                f"{path}: expected its {len(grades)} pictures {place}, found {len(names)} {problem}: {lines}"
            )
    cases: dict[str, dict[str, Any]] = {}
    for name, [picture] in found.items():  # two names may mean one picture
        whose = {"patient": grades[name].patient} if grades[name].patient else {}
        case = cases.setdefault(picture["case"], picture | whose | {"label": grades[name].grade})
        if case["label"] != grades[name].grade:
            raise InputError(
                f"{path}, line {grades[name].line}: expected one grade of {picture['image']}, found "
                f"{grades[name].grade} here and {case['label']} before"
            )
    return list(cases.values())
