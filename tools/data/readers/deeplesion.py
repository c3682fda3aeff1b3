"""Reader of DeepLesion: key slices of CT scans with lesion boxes, and 16-bit PNG files of neighbouring slices."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.data.readers.base import Case, Folder, Reader
from tools.data.readers.deeplesion_rows import COLUMNS, Row, read_lesion_files, read_lesion_table
from tools.data.readers.matching import check_matches, join_some, match_names
from tools.data.readers.tables import find_tables, list_tables
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

LESIONS = "lesions"
TABLE = "DL_info.csv"
IMAGE_FOLDERS = ("Images_png", ".", "Images_png/Images_png")  # the archives contain a folder of this name
MAX_LINES = 10


class DeepLesion(Reader):
    """Key slices with their lesions.

    Lesions are read from the published ``DL_info.csv`` in any subfolder, or from JSON files in COCO format. Images in
    JSON files need "spacing" and "slice_intv", and the file names contain the split. Slices are
    ``Images_png/<patient>_<study>_<series>/<number>.png``, or without the first folder. If the table is in the root
    folder, the files are not listed, since there are nearly a million.

    Args:
        folder: the data set.
        annotations: table, JSON file, or folder with these; relative to the data set if it exists there.
        skip_bad: whether images with invalid rows and missing images are excluded with a note, instead of an error.
            None, for configurations without this key, is False without advice in messages.
    """

    kind = LESIONS
    layout = f"DeepLesion ({TABLE} and Images_png, or JSON files in COCO style)"

    def __init__(self, folder: Folder, annotations: str | Path | None = None, skip_bad: bool | None = False) -> None:
        super().__init__(folder)
        self.annotations = annotations
        self.skip_bad = skip_bad

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether a table has the published columns."""
        return (folder.root / TABLE).is_file() or bool(find_tables(folder, COLUMNS))

    def cases(self) -> list[Case]:
        """List the key slices.

        Returns:
            For each key slice ``{"case": "000001_01_01/109", "patient": "000001", "image": path, "folder": folder of
            neighbouring slices, "row": position of the first lesion in the table, "interval": mm between slices,
            "spacing": mm per pixel, "first", "last": slice numbers of the series, "height", "width", "boxes": list of
            (x1, y1, x2, y2) in pixels from 0, "types": 1 to 8, or -1 if unknown, "noisy": 0 or 1}``, and "split" of a
            published split.

        Raises:
            InputError: if lesions or images are missing, or rows are invalid (one line each, at most 10).
        """
        tables = _read(self.folder.root, self.annotations)
        self.folder.mark_used(tables)
        rows = [row for members in tables.values() for row in members]
        rows = _usable(_without_contradictions(rows), self.skip_bad)
        by_file: dict[str, list[Row]] = {}
        for row in rows:
            by_file.setdefault(row.file, []).append(row)
        base = _image_folder(self.folder.root, by_file)
        ranges: dict[Path, dict[str, int]] = {}
        cases = []
        for file, path in _existing(base, by_file, self.skip_bad).items():
            members = by_file[file]
            if "first" not in members[0].facts and path.parent not in ranges:
                ranges[path.parent] = _range_on_disk(path.parent)
            cases.append(_case(path, members) | ranges.get(path.parent, {}))
        return cases


def _read(root: Path, annotations: str | Path | None) -> dict[Path, list[Row]]:
    """Return the rows of the table, or of all JSON files, by file."""
    place = root if annotations is None else root / Path(annotations).expanduser()
    if not os.path.exists(place):
        place = Path(os.path.abspath(Path(annotations).expanduser()))
    if os.path.isfile(place):
        found = read_lesion_files([place]) if place.suffix.lower() == ".json" else {place: read_lesion_table(place)}
    elif place.is_dir():
        found = _read_folder(place)
    else:
        raise InputError(f"annotations {annotations}: expected a file or folder, found none at this path or in {root}")
    if not found:
        raise InputError(
            f"dataset_dir {root}: expected {TABLE}, or JSON files with images and annotations, found none in {place}; "
            "set --annotations"
        )
    if not any(found.values()):
        raise InputError(f"{', '.join(map(str, found))}: expected key slices with lesions, found none")
    return found


def _read_folder(place: Path) -> dict[Path, list[Row]]:
    """Return the rows of the table with the published name or columns, or else of JSON files."""
    if (place / TABLE).is_file():
        return {place / TABLE: read_lesion_table(place / TABLE)}
    folder = Folder.open(place, "lesions")
    tables = [file for file in list_tables(folder) if file.name.lower() == TABLE.lower()]
    tables = tables or find_tables(folder, COLUMNS)
    if len(tables) > 1:
        found = join_some([folder.relative(path) for path in tables])
        raise InputError(f"dataset_dir {place}: expected one table of lesions, found {found}; set --annotations")
    return {tables[0]: read_lesion_table(tables[0])} if tables else read_lesion_files(folder.with_suffix(".json"))


def _without_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Add problems to rows that contradict earlier ones."""
    of_file: dict[str, Row] = {}
    of_patient: dict[str, Row] = {}
    found = []
    for row in rows:
        problem = row.problem
        if not problem:
            problem = _difference(row, of_file.setdefault(row.file, row))
        if not problem:
            problem = _other_part(row, of_patient.setdefault(row.facts["patient"], row))
        found.append(row._replace(problem=problem))
    return found


def _difference(row: Row, first: Row) -> str:
    for name, value in row.facts.items():
        if value != first.facts[name]:
            return f"expected {name} {first.facts[name]} of {row.file} as in {first.place}, found {value}"
    return ""


def _other_part(row: Row, first: Row) -> str:
    part, other = (one.facts.get("split") for one in (row, first))
    if part == other:
        return ""
    return f"expected patient {row.facts['patient']} in one split, found {part} here and {other} in {first.place}"


def _usable(rows: Sequence[Row], skip_bad: bool | None) -> list[Row]:
    """Return the rows of images without invalid rows."""
    bad = [row for row in rows if row.problem]
    if bad:
        lines = [f"  {row.place}: {row.problem}" for row in bad[:MAX_LINES]]
        lines += [f"  and {len(bad) - MAX_LINES} more"] if len(bad) > MAX_LINES else []
        head = f"{len(bad)} of {len(rows)} rows cannot be used"
        if not skip_bad:
            advice = "" if skip_bad is None else " (--skip_bad True excludes their images)"
            raise InputError("\n".join([f"{head}{advice}:", *lines]))
        print("\n".join([f"note: {head}, their images are excluded:", *lines]))
    excluded = {row.file for row in bad}
    usable = [row for row in rows if row.file not in excluded]
    if not usable:
        raise InputError(f"annotations: expected at least one valid key slice, found none in {len(rows)} rows")
    return usable


def _image_folder(root: Path, by_file: Mapping[str, Sequence[Row]]) -> Path:
    """Return the folder of the images: the first candidate with one of the files."""
    for file in by_file:
        for name in IMAGE_FOLDERS:
            path = root / name / file
            if os.path.isfile(path) and not is_output(path):  # False for a name that is too long
                return root / name
    first, (row, *_) = next(iter(by_file.items()))
    found = f"found none of {len(by_file)} (this one is in {row.place})"
    raise InputError(f"dataset_dir {root}: expected key slices such as {IMAGE_FOLDERS[0]}/{first}, {found}")


def _existing(base: Path, by_file: Mapping[str, Sequence[Row]], skip_bad: bool | None) -> dict[str, Path]:
    """Return the paths of existing key slices."""
    matches = match_names(by_file, lambda file: [base / file] if os.path.isfile(base / file) else [])
    places = {file: rows[0].place for file, rows in by_file.items()}
    if not skip_bad:
        advice = "" if skip_bad is None else "; --skip_bad True excludes them"
        check_matches(base, "key slices", matches, places, advice)
    elif matches.missing:
        missing = join_some([f"{file} ({places[file]})" for file in matches.missing])
        print(f"note: {base}: {len(matches.missing)} of {len(by_file)} key slices are missing and excluded: {missing}")
    return matches.files


def _range_on_disk(folder: Path) -> dict[str, int]:
    """Return the numbers of the first and last slice in a folder."""
    names = (re.fullmatch(r"([0-9]{1,9})\.png", name) for name in os.listdir(folder))
    numbers = [int(name[1]) for name in names if name]
    return {"first": min(numbers), "last": max(numbers)}


def _case(path: Path, rows: Sequence[Row]) -> Case:
    lesions = [lesion for row in rows for lesion in row.lesions]
    place = {"case": rows[0].file.removesuffix(".png"), "image": str(path), "folder": str(path.parent)}
    place["row"] = rows[0].place
    boxes, types, noisy = ([lesion[i] for lesion in lesions] for i in range(3))
    return place | rows[0].facts | {"boxes": boxes, "types": types, "noisy": noisy}
