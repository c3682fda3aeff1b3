"""Tables in CSV files: which a folder holds, and their lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.data import folders
from tools.utils.errors import InputError
from tools.utils.outputs import is_output


def list_tables(root: Path) -> list[Path]:
    """CSV and TSV files anywhere below a folder, sorted, without those that a run wrote."""
    files = [file for _, files in folders.walk(root, []) for file in files]
    return sorted(file for file in files if file.suffix.lower() in (".csv", ".tsv") and not is_output(file))


def given_table(root: Path, label_file: str | Path) -> Path:
    """Path of a table that was named, relative to `root` if it lies there.

    Raises:
        InputError: it is in neither place, or a run wrote it.
    """
    path = root / label_file if (root / label_file).is_file() else Path(label_file)
    if not path.is_file():
        raise InputError(f"label_file {label_file}: expected a table, found nothing there nor in {root}")
    folders.refuse_output("label_file", path)
    return path


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers; the first is the header.

    Args:
        path: a file with commas, semicolons or tabs, whichever its header has most of.

    Raises:
        InputError: the file cannot be read as text in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=head.count))
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table in UTF-8, found {error}") from error
    return [(line, row) for line, row in rows if any(row)] or [(1, [])]


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their line numbers, cells by the names of their columns in lower case.

    Args:
        path: the file.
        columns: columns it must have, in any case.

    Raises:
        InputError: a column is missing; the message lists those there are.
    """
    (_, header), *rows = read_lines(path)
    names = [name.lower() for name in header]
    if missing := [column for column in columns if column.lower() not in names]:
        raise InputError(f"{path}: expected columns {', '.join(missing)}, found {', '.join(header) or 'none'}")
    for line, row in rows:
        yield line, dict(zip(names, row + [""] * (len(names) - len(row)), strict=False))


def find_tables(root: Path, columns: Sequence[str]) -> list[Path]:
    """Tables below a folder whose header has all of the columns."""
    return [path for path in list_tables(root) if _has(path, columns)]


def _has(path: Path, columns: Sequence[str]) -> bool:
    try:
        names = {name.lower() for name in read_lines(path)[0][1]}
    except InputError:  # some other file
        return False
    return {column.lower() for column in columns} <= names
