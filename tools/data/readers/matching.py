"""Search for the files of a data set by their names in tables."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES, Folder, strip_suffix
from tools.utils.errors import InputError

SUFFIXES = (*VOLUME_SUFFIXES, *IMAGE_SUFFIXES, ".npz")
MAX_NAMED = 3


class FileIndex:
    """Index of files by name, with or without suffix, case-insensitive.

    A name can be a path relative to the table or the data set, or the end of a path (``10_left``,
    ``train/10_left.png``). It can also be a path of another computer that ends in a path relative to the data set.
    Folders in a name must match: ``a/1.png`` does not match ``b/1.png``.

    Args:
        folder: the data set.
        files: files of the index.
    """

    def __init__(self, folder: Folder, files: Iterable[Path]) -> None:
        self._root = folder.root
        self._paths: dict[str, list[Path]] = defaultdict(list)
        self._endings: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            path = _plain(folder.relative(file))
            for name in {path, strip_suffix(path, SUFFIXES)}:
                parts = name.split("/")
                self._paths[name].append(file)
                for start in range(len(parts)):
                    self._endings["/".join(parts[start:])].append(file)

    def find(self, name: str, table: Path) -> list[Path]:
        """Return the files that match a table cell; none or several if it is invalid or ambiguous."""
        name = name.replace("\\", "/")
        for base in (table.parent, self._root) if "/" in name else ():
            path = os.path.relpath(os.path.normpath(base / name), self._root)
            if found := self._find(_plain(path.replace(os.sep, "/")), self._paths):
                return found
        parts = [part for part in _plain(name).split("/") if part not in ("", ".")]
        if ".." in parts:
            return []
        whole = self._find("/".join(parts), self._endings)
        shorter = ("/".join(parts[start:]) for start in range(1, len(parts)))
        return whole or next(filter(None, (self._find(one, self._paths) for one in shorter)), [])

    @staticmethod
    def _find(name: str, files: Mapping[str, list[Path]]) -> list[Path]:
        return files.get(name) or files.get(strip_suffix(name, SUFFIXES)) or []


class Matches(NamedTuple):
    """Names of a table with their files.

    Attributes:
        files: file by name.
        missing: names without a file.
        ambiguous: names that match several files.
    """

    files: dict[str, Path]
    missing: list[str]
    ambiguous: list[str]


def match_names(names: Iterable[str], find: Callable[[str], Sequence[Path]]) -> Matches:
    """Find the file of each name.

    Args:
        names: unique names.
        find: function that returns the files that match a name.
    """
    found = {name: find(name) for name in names}
    return Matches(
        {name: files[0] for name, files in found.items() if len(files) == 1},
        [name for name, files in found.items() if not files],
        [name for name, files in found.items() if len(files) > 1],
    )


def check_matches(
    source: str | Path, expected: str, matches: Matches, places: Mapping[str, str], advice: str = ""
) -> None:
    """Raise `InputError` unless each name matches exactly one file.

    Args:
        source: table for the message.
        expected: description of the files.
        matches: matches of the names.
        places: position of each name in the table, such as ``line 3``.
        advice: advice at the end of the message.
    """
    total = len(matches.files) + len(matches.missing) + len(matches.ambiguous)
    for problem, names in (("missing", matches.missing), ("ambiguous", matches.ambiguous)):
        if names:
            named = join_some([f"{name} ({places[name]})" for name in names])
            found = f"{len(names)} {problem}: {named}{advice}"
            raise InputError(f"{source}: expected {total} {expected}, found {found}")


def join_some(names: Sequence[str]) -> str:
    """Format the first names and the number of further names."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
