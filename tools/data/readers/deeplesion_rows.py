"""Parsing of DeepLesion's table and of JSON files in COCO format, with the reason for each invalid row."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.data.readers.tables import read_table
from tools.utils.errors import InputError
from tools.utils.inputs import read_json

NAME, KEY_SLICE, BOX, TYPE, NOISY, RANGE, SPACING, SIZE, PART = COLUMNS = (
    "File_name",
    "Key_slice_index",
    "Bounding_boxes",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "Train_Val_Test",
)
PATIENT = "Patient_index"
PARTS = {1: "training", 2: "validation", 3: "test"}
WORDS = {"train": "training", "training": "training", "val": "validation", "valid": "validation"}
WORDS |= {"validation": "validation", "test": "test", "testing": "test"}
TYPES = (-1, 1, 2, 3, 4, 5, 6, 7, 8)  # -1 is unknown
FOLDER = r"[^/\\:.\x00-\x1f][^/\\:\x00-\x1f]*"  # a single folder name
IN_TABLE = re.compile(rf"({FOLDER})_([0-9]{{1,9}})\.png")  # the last underscore separates folder and file
IN_JSON = re.compile(rf"({FOLDER})/([0-9]{{1,9}})\.png")
MARGIN = 5  # pixels by which boxes exceed the measured diameters on each side
DIGITS = 6  # decimals of box coordinates, since 226.169 - 1 is not exactly 225.169


class Lesion(NamedTuple):
    """Lesion: box (x1, y1, x2, y2) in pixels from 0, coarse type, and 1 if it may be noisy."""

    box: list[float]
    kind: int
    noisy: int


class Row(NamedTuple):
    """Row of a table, or image of a JSON file.

    Attributes:
        place: position for messages.
        file: key slice, ``<folder>/<number>.png``; empty if unknown.
        facts: "patient", "interval" and further values of the case; JSON files have no "first" and "last".
        lesions: annotated lesions.
        problem: reason why the row is invalid; `facts` and `lesions` are then empty.
    """

    place: str
    file: str
    facts: Mapping[str, Any]
    lesions: Sequence[Lesion]
    problem: str = ""


def read_lesion_table(path: Path) -> list[Row]:
    """Read the rows of a table with the columns of ``DL_info.csv``.

    Raises:
        InputError: if the table cannot be read or lacks columns.
    """
    return [
        _attempt(f"{path.name}, line {line}", _file(IN_TABLE, cells[NAME.lower()]), _of_cells, cells)
        for line, cells in read_table(path, COLUMNS)
    ]


def read_lesion_files(paths: Sequence[Path]) -> dict[Path, list[Row]]:
    """Read the JSON files in COCO format; other JSON files are ignored.

    If all file names contain a split (training, validation or test), it is the published split of the images.

    Raises:
        InputError: if a file is not valid JSON.
    """
    contents = {path: content for path in paths if (content := _coco(path)) is not None}
    parts = {path: _part_of(path.stem) for path in contents}
    if not all(parts.values()):
        parts = dict.fromkeys(contents)
    found = {path: _of_coco(path.name, *contents[path], parts[path]) for path in contents}
    first: dict[str, Row] = {}
    for rows in found.values():
        for index, row in enumerate(rows):
            other = first.setdefault(row.file, row) if row.file else row
            if other is not row and not row.problem:
                rows[index] = _bad(row.place, row.file, f"expected each image once, found it also in {other.place}")
    return found


def _coco(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Return images and annotations of a JSON file; None if it has other content."""
    content = read_json(path)
    lists = [content.get(key) for key in ("images", "annotations")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(one, list) and all(isinstance(item, dict) for item in one) for one in lists):
        return None
    return lists[0], lists[1]


def _part_of(stem: str) -> str | None:
    found = {WORDS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in WORDS}
    return found.pop() if len(found) == 1 else None


def _of_coco(
    name: str, images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], part: str | None
) -> list[Row]:
    marked: dict[str, list[dict[str, Any]]] = {str(image.get("id")): [] for image in images}
    counts, rows = Counter(str(image.get("id")) for image in images), []
    for one in annotations:
        if (of := str(one.get("image_id"))) in marked:
            marked[of].append(one)
        else:
            rows.append(_bad(f"{name}, annotation id {one.get('id')}", "", f"expected an image with the id {of}"))
    for image in images:
        of, file = str(image.get("id")), _file(IN_JSON, str(image.get("file_name")))
        if counts[of] > 1:
            rows.append(
                _bad(f"{name}, image id {of}", file, f"expected a unique id, found {counts[of]} images with it")
            )
        else:
            rows.append(_attempt(f"{name}, image id {of}", file, _of_image, image, marked[of], part))
    return rows


def _bad(place: str, file: str, problem: str) -> Row:
    return Row(place, file, {}, (), problem)


def _attempt(place: str, file: str, read: Callable[..., tuple[dict[str, Any], list[Lesion]]], *what: Any) -> Row:
    try:
        return Row(place, file, *read(*what))
    except InputError as error:
        return _bad(place, file, str(error))


def _file(pattern: re.Pattern[str], name: str) -> str:
    found = pattern.fullmatch(name)
    return f"{found[1]}/{found[2]}.png" if found else ""


def _of_cells(cells: Mapping[str, str]) -> tuple[dict[str, Any], list[Lesion]]:
    """Return facts and lesion of a row."""

    def numbers(column: str, count: int = 1) -> list[float]:
        return _numbers(cells[column.lower()].split(","), count, column)

    name = IN_TABLE.fullmatch(cells[NAME.lower()])
    if name is None:
        raise InputError(f"expected a {NAME} such as 000001_01_01_109.png, found {_shown(cells[NAME.lower()])}")
    spacing, _, interval = numbers(SPACING, 3)
    width, height = _integers(numbers(SIZE, 2), SIZE)
    [key], (first, last) = _integers(numbers(KEY_SLICE), KEY_SLICE), _integers(numbers(RANGE, 2), RANGE)
    if key != int(name[2]) or not 0 <= first <= key <= last:
        raise InputError(f"expected key slice {int(name[2])} within its {RANGE}, found {key} and {first} to {last}")
    [part] = numbers(PART)
    if part not in PARTS:
        raise InputError(f"expected 1, 2 or 3 under {PART}, found {part:g}")
    patient = name[1].partition("_")[0]
    if PATIENT.lower() in cells:
        patient = str(*_integers(numbers(PATIENT), PATIENT)).zfill(len(patient))
    facts = _facts(patient, interval, spacing, height, width, PARTS[int(part)]) | {"first": first, "last": last}
    box = [edge - 1 for edge in numbers(BOX, 4)]  # the table counts from 1
    return facts, [_lesion(box, numbers(TYPE)[0], numbers(NOISY)[0], height, width)]


def _of_image(
    image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], part: str | None
) -> tuple[dict[str, Any], list[Lesion]]:
    """Return facts and lesions of an image in COCO format, with additional keys of DeepLesion."""
    name = IN_JSON.fullmatch(str(image.get("file_name")))
    if name is None:
        raise InputError(f"expected a file_name such as 000001_01_01/109.png, found {_shown(image.get('file_name'))}")
    several = image["spacing"] if isinstance(image.get("spacing"), list) else [image.get("spacing")]
    spacing = _numbers(several[:1], 1, "spacing")[0]
    [interval] = _numbers([image.get("slice_intv")], 1, "slice_intv")
    height, width = _integers(_numbers([image.get("height"), image.get("width")], 2, "height, width"), "height, width")
    lesions = []
    for one in annotations:
        left, top, *edges = _numbers(one.get("bbox"), 4, "bbox")
        box = [left, top, left + edges[0], top + edges[1]]
        lesions.append(_lesion(box, -1, _numbers([one.get("noisy") or 0], 1, "noisy")[0], height, width))
    return _facts(name[1].partition("_")[0], interval, spacing, height, width, part), lesions


def _facts(patient: str, interval: float, spacing: float, height: int, width: int, part: str | None) -> dict[str, Any]:
    for what, length in (("mm between slices", interval), ("mm per pixel", spacing), ("pixels", min(height, width))):
        if length <= 0:
            raise InputError(f"expected {what} above 0, found {length:g}")
    facts = {"patient": patient, "interval": interval, "spacing": spacing, "height": height, "width": width}
    return facts if part is None else facts | {"split": part}


def _lesion(box: Sequence[float], kind: float, noisy: float, height: int, width: int) -> Lesion:
    """Return a lesion with the box clipped to the image; boxes that exceed it by more than `MARGIN` are invalid."""
    found = f"({', '.join(f'{edge:g}' for edge in box)}), counted from 0"
    ends = [width, height, width, height]
    if any(not -MARGIN <= edge <= end + MARGIN for edge, end in zip(box, ends, strict=True)):
        raise InputError(f"expected a box in an image of {width} x {height} pixels, found {found}")
    inside = [round(min(max(edge, 0.0), end), DIGITS) for edge, end in zip(box, ends, strict=True)]
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise InputError(f"expected a box x1, y1, x2, y2 with an area in the image, found {found}")
    if kind not in TYPES or noisy not in (0, 1):
        raise InputError(f"expected a lesion type of -1 or 1 to 8, and noisy 0 or 1, found {kind:g} and {noisy:g}")
    return Lesion([float(edge) for edge in inside], int(kind), int(noisy))


def _numbers(values: Any, count: int, name: str) -> list[float]:
    try:
        numbers = [float(value) for value in values] if isinstance(values, list) else []
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        text = ",".join(map(str, values)) if isinstance(values, list) else values
        raise InputError(f"expected {count} number{'s' * (count > 1)} under {name}, found {_shown(text)}")
    return numbers


def _integers(numbers: Sequence[float], name: str) -> list[int]:
    if not all(number.is_integer() for number in numbers):
        raise InputError(f"expected integers under {name}, found {', '.join(map(str, numbers))}")
    return [int(number) for number in numbers]


def _shown(value: Any) -> str:
    return repr(value if value is None else str(value)[:60])
