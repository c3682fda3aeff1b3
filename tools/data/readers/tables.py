"""Reader of CSV and TSV tables with detection of encoding and separator."""

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
HEAD = 65536  # maximum size of a table header in bytes
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ ,;\t]*', re.IGNORECASE)  # first line of tables written by Excel


class Row(NamedTuple):
    """Row of a table: line number, and cells by column name in lower case."""

    line: int
    cells: dict[str, str]


def list_tables(folder: Folder) -> list[Path]:
    """Return the CSV and TSV files of a data set, without outputs of runs."""
    return folder.with_suffix(*SUFFIXES)


def find_tables(folder: Folder, columns: Sequence[str]) -> list[Path]:
    """Return the tables of a data set with all given columns, case-insensitive."""
    return [path for path in list_tables(folder) if {one.lower() for one in columns} <= set(column_names(path))]


def resolve_table(folder: Folder, label_file: str | Path, key: str = "label_file") -> Path:
    """Return the path of a table, relative to the data set if it exists there.

    Raises:
        InputError: if the table does not exist, cannot be opened, or is an output of a run.
    """
    inside = folder.root / Path(label_file).expanduser()
    path = inside if os.path.lexists(inside) else Path(label_file).expanduser()
    if not os.path.lexists(path):
        raise InputError(f"{key} {label_file}: expected a table, found none at this path or in {folder.root}")
    check_readable(path, "table")
    if is_output(path):
        raise InputError(f"{key} {path}: expected a file of a data set, found the output of a run")
    return path


def read_header(path: Path) -> list[str]:
    """Return the column names of a table, in original case.

    Raises:
        InputError: if the file cannot be read as text.
    """
    return next(_lines(path, HEAD), (1, []))[1]


def column_names(path: Path) -> list[str]:
    """Return the column names of a table in lower case; empty for a file that is not a table."""
    try:
        return [name.lower() for name in read_header(path)]
    except InputError:
        return []


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the rows of a table that are not empty.

    Args:
        path: file in UTF-8 or UTF-16, with or without byte-order mark. The separator (comma, semicolon, tab or bar) is
            the most frequent one in the header, or follows from a first line such as ``sep=;``.
        columns: required columns, case-insensitive.

    Raises:
        InputError: if the file cannot be read, or a column is missing.
    """
    return list(iterate_table(path, columns))


def iterate_table(path: Path, columns: Sequence[str], optional: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of `read_table`, with some of the columns.

    Args:
        path: see `read_table`.
        columns: required columns, case-insensitive.
        optional: further columns, which the table may lack; None for all columns of the table.

    Raises:
        InputError: if the file cannot be read, or a column is missing.
    """
    lines = _lines(path)
    header = next(lines, (1, []))[1]
    names = [name.lower() for name in header]
    if missing := [column for column in columns if column.lower() not in names]:
        raise InputError(f"{path}: expected columns {', '.join(missing)}, found {', '.join(header) or 'none'}")
    wanted = set(names) if optional is None else {column.lower() for column in (*columns, *optional)}
    kept = [(place, name) for place, name in enumerate(names) if name in wanted]
    for line, cells in lines:
        yield Row(line, {name: cells[place] if place < len(cells) else "" for place, name in kept})


def _lines(path: Path, size: int = -1) -> Iterator[tuple[int, list[str]]]:
    """Yield numbers and cells of the lines that are not empty, of a file or its first bytes."""
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
