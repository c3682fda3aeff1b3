"""Index of a cache folder: one line of JSON for each preprocessed case."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tools.utils.errors import InputError
from tools.utils.files import writing

NAME, VERSION = "index.jsonl", 1
START = b'{"key":"'  # of the line of a record; the key follows
KEY_LENGTH = 32

Record = dict[str, Any]


class CacheIndex:
    """Index of a cache folder, to which several processes append.

    The first line has a version and a random id of the folder. Each further line is the record of a case: its key, id
    and patient, the size and time of its source files and of its cache file, and its facts, or an error. A line is
    written by one call with ``O_APPEND``, which starts with a line break, so that a line that was cut short damages no
    other. Damaged lines are ignored with a note. The cache files contain the facts too, so a lost line costs only the
    time to open one file.

    Args:
        folder: cache folder; it is created by the first `append` or `folder_id`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lines: dict[bytes, bytes] = {}
        self._position = 0

    def folder_id(self) -> str:
        """Return the id of the folder, which is equal on all machines that share it."""
        self.refresh()
        if not self._position:
            self._create()
        with self.path.open("rb") as file:
            return json.loads(file.readline())["folder"]

    def get(self, key: str) -> Record | None:
        """Return the newest record of a key as of the last `refresh`, or None."""
        return _parse(self._lines.get(key.encode()))

    def records(self) -> Iterator[Record]:
        """Yield the newest record of each key as of the last `refresh`."""
        return filter(None, map(_parse, self._lines.values()))

    def refresh(self) -> None:
        """Read the lines that were appended since the last call.

        Raises:
            InputError: if the index cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                if not self._position and not self._check_header(file.readline()):
                    return
                file.seek(self._position)
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):  # writing will create or refuse the folder
            return
        except OSError as error:
            raise InputError(f"{self.path}: expected a readable index, found {error.strerror}") from error
        *lines, last = content.split(b"\n")
        if last and _parse(last) is None:  # another process may be writing it
            content = content[: -len(last)]
        else:
            lines.append(last)
        damaged = sum(map(self._add, lines)) + (content[-1:] == b"\n" and bool(last))
        self._position += len(content)
        if damaged:
            print(f"note: {self.path}: {damaged} damaged lines are ignored; their cases are read from the cache files")

    def append(self, record: Record) -> None:
        """Append a record, which starts with "key".

        Raises:
            WriteError: if the index cannot be written.
        """
        line = json.dumps(record, separators=(",", ":")).encode()
        if not self.path.exists():
            self._create()
        with writing(self.path):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, b"\n" + line)
            finally:
                os.close(handle)
        self._add(line)

    def _add(self, line: bytes) -> bool:
        """Add a line; return whether it is damaged."""
        if line:
            if not line.startswith(START) or not line.endswith(b"}"):
                return True
            self._lines[line[len(START) : len(START) + KEY_LENGTH]] = line
        return False

    def _check_header(self, line: bytes) -> bool:
        """Return whether the first line is valid; otherwise replace the file by a new index."""
        header = _parse(line)
        if header and header.get("index") == VERSION and isinstance(header.get("folder"), str):
            self._position = len(line.rstrip(b"\n"))
            return True
        found = f"version {header['index']}" if header and "index" in header else "another file"
        print(f"note: {self.path}: expected an index of version {VERSION}, found {found}; it is written again")
        self._create(replace=True)
        return False

    def _create(self, replace: bool = False) -> None:
        """Write an index without records, unless another process has done so in the meantime."""
        header = json.dumps({"index": VERSION, "folder": uuid.uuid4().hex}, separators=(",", ":"))
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_name(f".{NAME}.{uuid.uuid4().hex[:8]}")
            new.write_text(header, encoding="utf-8")
            try:
                if replace:
                    os.replace(new, self.path)
                else:
                    _link(new, self.path)
            finally:
                new.unlink(missing_ok=True)
        self._position = 0
        self.refresh()


def _link(new: Path, path: Path) -> None:
    """Give a file a second name, unless the name exists; file systems without links rename it."""
    try:
        os.link(new, path)
    except FileExistsError:
        return
    except OSError:
        with suppress(FileNotFoundError):
            if not path.exists():
                os.replace(new, path)


def _parse(line: bytes | None) -> Record | None:
    try:
        found = json.loads(line) if line else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
