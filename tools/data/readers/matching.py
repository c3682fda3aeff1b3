"""Files of a data set by the names that tables give them."""

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
    """Finds files by name, with or without suffix, whatever the case of the letters.

    A name is a path relative to the folder of the table or to the data set, the end of a path (``10_left``,
    ``train/10_left.png``), or a path of another computer that ends in one relative to the data set. Folders that a
    name gives are never ignored: ``a/1.png`` is not found in ``b/1.png``.

    Args:
        folder: the data set.
        files: its files that may be named.
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
        """Files that a cell of a table may mean, none or several if it is wrong or ambiguous."""
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
        files: the file by name.
        missing: names without a file.
        ambiguous: names that may mean several files.
    """

    files: dict[str, Path]
    missing: list[str]
    ambiguous: list[str]


def match_names(names: Iterable[str], find: Callable[[str], Sequence[Path]]) -> Matches:
    """Find the files of names.

    Args:
        names: each once.
        find: gives the files that a name may mean.
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
    """Raise an `InputError` for names without exactly one file.

    Args:
        source: the table, for the message.
        expected: what its names stand for.
        matches: of its names.
        places: where a name is written, such as ``line 3``.
        advice: what else can be done, behind the message.
    """
    total = len(matches.files) + len(matches.missing) + len(matches.ambiguous)
    for problem, names in (("missing", matches.missing), ("in several places", matches.ambiguous)):
        if names:
            named = join_some([f"{name} ({places[name]})" for name in names])
            found = f"{len(names)} {problem}: {named}{advice}"
            raise InputError(f"{source}: expected its {total} {expected}, found {found}")


def join_some(names: Sequence[str]) -> str:
    """First of some names, and how many there are besides."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
