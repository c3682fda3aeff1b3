"""DeepLesion: key slices of CTs with boxes around lesions, and PNG files of 16 bits for them and their neighbours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data import folders
from tools.data.cases import find_cases
from tools.data.lesion_rows import COLUMNS, Row, read_lesion_files, read_lesion_table
from tools.data.tables import find_tables
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

TABLE = "DL_info.csv"
SUFFIXES = (".csv", ".tsv", ".json")
PICTURES = ("Images_png", ".", "Images_png/Images_png")  # the published archives unpack into a folder of that name
MAX_LINES, MAX_NAMED = 10, 3


def find_lesions(
    dataset_dir: str | Path, annotations: str | Path | None = None, skip_bad: bool | None = False
) -> list[dict[str, Any]]:
    """List the key slices of DeepLesion with their lesions, sorted by case id.

    Lesions stand in ``DL_info.csv`` as published, anywhere below the folder, or in JSON files in COCO style, whose
    images have "spacing" and "slice_intv" and the part of the split in the file's name. Slices are
    ``Images_png/<patient>_<study>_<series>/<number>.png``, or without the first folder.

    Args:
        dataset_dir: the folder.
        annotations: the table, a JSON file, or a folder with such; relative to `dataset_dir` if it lies there.
        skip_bad: print and leave out pictures with rows that cannot be used and those that are missing. None where a
            configuration has no such key: as False, but messages do not advise it.

    Returns:
        For each key slice ``{"case": "000001_01_01/109", "patient": "000001", "image": path, "folder": that of its
        neighbours, "row": place of its first lesion, "interval": mm between slices, "spacing": mm per pixel, "first"
        and "last": numbers of the slices there are, "height", "width", "boxes": (x1, y1, x2, y2) each, counted from 0,
        "types": 1 to 8, -1 unknown, "noisy": 0 or 1}``, and "part" where there is an official split.

    Raises:
        InputError: no lesions, no pictures or not all; rows that cannot be used (one line each, at most 10).
    """
    root = folders.existing_folder(dataset_dir, "DeepLesion pictures")
    rows = _usable(_without_contradictions(_read(root, annotations)), skip_bad)
    by_file: dict[str, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.file, []).append(row)
    base = _picture_folder(root, by_file)
    _drop_missing(base, by_file, skip_bad)
    ranges: dict[Path, dict[str, int]] = {}
    cases = []
    for file, members in by_file.items():
        path = base / file
        if "first" not in members[0].facts and path.parent not in ranges:
            ranges[path.parent] = _range_on_disk(path.parent)
        cases.append(_case(path, members) | ranges.get(path.parent, {}))
    return sorted(cases, key=lambda case: case["case"])


def find_detection_scans(dataset_dir: str | Path, annotations: str | Path | None = None) -> list[dict[str, Any]]:
    """List what lesions may be looked for in: the key slices of a DeepLesion folder, else all volumes of a folder.

    Args:
        dataset_dir: the folder, or a single volume.
        annotations: see `find_lesions`.

    Returns:
        As `find_lesions`, or as `find_cases` for volumes.

    Raises:
        InputError: see these.
    """
    root = Path(dataset_dir).expanduser()
    if annotations is not None or (root.is_dir() and find_tables(root, COLUMNS)):
        return find_lesions(dataset_dir, annotations, skip_bad=None)
    return find_cases(dataset_dir, advise_channels=False)


def _read(root: Path, annotations: str | Path | None) -> list[Row]:
    """Rows of the table, or of all JSON files."""
    place = root if annotations is None else root / Path(annotations).expanduser()
    if not os.path.exists(place):
        place = Path(os.path.abspath(annotations))
    if os.path.isfile(place):
        found = read_lesion_files([place]) if place.suffix.lower() == ".json" else {place: read_lesion_table(place)}
    elif place.is_dir():
        found = _read_folder(place)
    else:
        raise InputError(f"annotations {annotations}: expected a file or folder, found nothing there nor in {root}")
    if not found:
        raise InputError(
            f"dataset_dir {root}: expected {TABLE}, or JSON files with images and annotations, found none in {place}; "
            "name them with --annotations"
        )
    rows = [row for members in found.values() for row in members]
    if not rows:
        raise InputError(f"{', '.join(map(str, found))}: expected key slices with lesions, found none")
    return rows


def _read_folder(place: Path) -> dict[Path, list[Row]]:
    """Rows of the table of the published name, else of the only one with its columns, else of JSON files."""
    if (place / TABLE).is_file():  # there is no need to look at a million files
        return {place / TABLE: read_lesion_table(place / TABLE)}
    files = [file for _, files in folders.walk(place, []) for file in files if file.suffix.lower() in SUFFIXES]
    tables = [file for file in files if file.name.lower() == TABLE.lower()]
    jsons = [file for file in files if file.suffix.lower() == ".json"]
    if not tables and len(jsons) < len(files):
        tables = find_tables(place, COLUMNS)
    if len(tables) > 1:
        found = ", ".join(path.relative_to(place).as_posix() for path in tables[:MAX_NAMED])
        raise InputError(
            f"dataset_dir {place}: expected one table of lesions, found {found}; name it with --annotations"
        )
    return {tables[0]: read_lesion_table(tables[0])} if tables else read_lesion_files(sorted(jsons))


def _without_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Rows as they are, or with a problem where an earlier one says something else."""
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
            return f"expected of {row.file} the {name} {first.facts[name]} of {first.place}, found {value}"
    return ""


def _other_part(row: Row, first: Row) -> str:
    part, other = (one.facts.get("part") for one in (row, first))
    if part == other:
        return ""
    return (
        f"expected patient {row.facts['patient']} in one part of the split, found {part} here, {other} in {first.place}"
    )


def _usable(rows: Sequence[Row], skip_bad: bool | None) -> list[Row]:
    """Rows of the pictures all of whose rows can be used."""
    bad = [row for row in rows if row.problem]
    if bad:
        lines = [f"  {row.place}: {row.problem}" for row in bad[:MAX_LINES]]
        lines += [f"  and {len(bad) - MAX_LINES} more"] if len(bad) > MAX_LINES else []
        head = f"{len(bad)} of {len(rows)} rows cannot be used"
        if not skip_bad:
            advice = "" if skip_bad is None else " (--skip_bad True leaves their pictures out)"
            raise InputError("\n".join([f"{head}{advice}:", *lines]))
        print("\n".join([f"note: {head}, their pictures are left out:", *lines]))
    left_out = {row.file for row in bad}
    usable = [row for row in rows if row.file not in left_out]
    if not usable:
        raise InputError(
            f"annotations: expected at least one key slice that can be used, found {len(rows)} rows and none"
        )
    return usable


def _picture_folder(root: Path, by_file: Mapping[str, Sequence[Row]]) -> Path:
    """The folder that files are relative to: the first in which one of them is."""
    for file in by_file:
        for name in PICTURES:
            path = root / name / file
            if os.path.isfile(path) and not is_output(path):  # False for a name that is too long
                return root / name
    first, (row, *_) = next(iter(by_file.items()))
    found = f"found none of {len(by_file)} ({row.place} names this one)"
    raise InputError(f"dataset_dir {root}: expected key slices such as {PICTURES[0]}/{first}, {found}")


def _drop_missing(base: Path, by_file: dict[str, list[Row]], skip_bad: bool | None) -> None:
    missing = [file for file in by_file if not os.path.isfile(base / file)]
    if not missing:
        return
    named = ", ".join(f"{file} ({by_file[file][0].place})" for file in missing[:MAX_NAMED])
    found = f"{len(missing)} of {len(by_file)} key slices missing: {named}"
    if not skip_bad:
        advice = "" if skip_bad is None else " (--skip_bad True leaves them out)"
        raise InputError(f"{base}: found {found}{advice}")
    print(f"note: {base}: {found}; they are left out")
    for file in missing:
        del by_file[file]


def _range_on_disk(folder: Path) -> dict[str, int]:
    """Numbers of the first and last slice of a folder."""
    names = (re.fullmatch(r"([0-9]{1,9})\.png", name) for name in os.listdir(folder))
    numbers = [int(name[1]) for name in names if name]
    return {"first": min(numbers), "last": max(numbers)}


def _case(path: Path, rows: Sequence[Row]) -> dict[str, Any]:
    lesions = [lesion for row in rows for lesion in row.lesions]
    place = {"case": rows[0].file.removesuffix(".png"), "image": str(path), "folder": str(path.parent)}
    place["row"] = rows[0].place
    boxes, types, noisy = ([lesion[i] for lesion in lesions] for i in range(3))
    return place | rows[0].facts | {"boxes": boxes, "types": types, "noisy": noisy}
