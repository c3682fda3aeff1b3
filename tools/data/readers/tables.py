"""Tables in CSV and TSV files: encodings, separators, columns and rows."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.data.readers.base import Folder
from tools.utils.errors import InputError
from tools.utils.inputs import check_readable
from tools.utils.outputs import is_output

SUFFIXES = (".csv", ".tsv")
SEPARATORS = ",;\t|"
HEAD = 65536  # bytes in which the header of a table ends
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ ,;\t]*', re.IGNORECASE)  # the first line of tables that Excel writes


class Row(NamedTuple):
    """One row of a table: its line in the file, and its cells by column name in lower case."""

    line: int
    cells: dict[str, str]


def list_tables(folder: Folder) -> list[Path]:
    """CSV and TSV files of a data set that no run wrote."""
    return folder.with_suffix(*SUFFIXES)


def find_tables(folder: Folder, columns: Sequence[str]) -> list[Path]:
    """Tables of a data set whose header has all of some columns, in any case."""
    return [path for path in list_tables(folder) if {one.lower() for one in columns} <= set(column_names(path))]


def resolve_table(folder: Folder, label_file: str | Path, key: str = "label_file") -> Path:
    """Path of a table that a key names, relative to the data set if it lies there.

    Raises:
        InputError: it is in neither place or cannot be opened, or a run wrote it.
    """
    inside = folder.root / Path(label_file).expanduser()
    path = inside if os.path.lexists(inside) else Path(label_file).expanduser()
    if not os.path.lexists(path):
        raise InputError(f"{key} {label_file}: expected a table, found nothing there nor in {folder.root}")
    check_readable(path, "table")
    if is_output(path):
        raise InputError(f"{key} {path}: expected a file of a data set, found one that a run of a bundle wrote")
    return path


def read_header(path: Path) -> list[str]:
    """Names of the columns of a table as they are written.

    Raises:
        InputError: the file cannot be read as text.
    """
    return next(_lines(path, HEAD), (1, []))[1]


def column_names(path: Path) -> list[str]:
    """Names of the columns of a table in lower case, none for a file that is no table."""
    try:
        return [name.lower() for name in read_header(path)]
    except InputError:
        return []


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the rows of a table that are not empty.

    Args:
        path: a file in UTF-8 or UTF-16, with or without byte-order mark, whose columns are separated by commas,
            semicolons, tabs or bars, whichever its header has most of, or as a first line ``sep=;`` says.
        columns: columns it must have, in any case.

    Raises:
        InputError: the file cannot be read, or a column is missing; the message lists those there are.
    """
    lines = _lines(path)
    header = next(lines, (1, []))[1]
    names = [name.lower() for name in header]
    if missing := [column for column in columns if column.lower() not in names]:
        raise InputError(f"{path}: expected columns {', '.join(missing)}, found {', '.join(header) or 'none'}")
    padded = ((line, cells + [""] * (len(names) - len(cells))) for line, cells in lines)
    return [Row(line, dict(zip(names, cells, strict=False))) for line, cells in padded]


def _lines(path: Path, size: int = -1) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, with their numbers, of a file or its first bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(size)
        text = content.decode(_encoding(content), errors="strict" if size < 0 else "replace")
        first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
        named = _SEPARATOR_LINE.fullmatch(first)
        unquoted = re.sub(r'"[^"]*"', "", first)
        separator = named[1] if named else max(SEPARATORS, key=unquoted.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t")
        cells = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        filled = (one for one in cells if any(one[1]))
        yield from itertools.islice(filled, 1 if named else 0, None)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: expected a table in UTF-8 or UTF-16, found {' '.join(str(error).split())}; save it as CSV UTF-8"
        ) from error


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if content[:1] == b"\0":
        return "utf-16-be"
    return "utf-16-le" if content[1:2] == b"\0" else "utf-8-sig"
