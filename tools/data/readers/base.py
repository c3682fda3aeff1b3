"""Base class of readers, and the file list of a data set folder."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tools.phantoms.store import MARKER
from tools.utils import distributed
from tools.utils.errors import InputError, escape
from tools.utils.outputs import is_output

#: case: "case" (id), "patient", "image" (path, or list of paths, one per channel) and further keys of the layout
Case = dict[str, Any]

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
#: suffixes of data files with a detached header of the same name
DETACHED_SUFFIXES = (".raw", ".raw.gz", ".zraw")
#: folders that operating systems and storage devices add to a data set
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
MAX_NAMED = 3

BROKEN_LINK = "broken links"
SPECIAL = "pipes, sockets and devices"
UNREADABLE = "no permission to read"
OUTPUT = "outputs of earlier runs"
OTHER = "other formats"


class Folder:
    """File list of a data set, with the reasons why files are not used.

    Hidden files and folders and `SYSTEM_FOLDERS` are excluded. Folders with several links are listed once.

    Args:
        root: folder to which case ids are relative.
        files: readable regular files in this folder, sorted.

    Attributes:
        ignored: relative paths of unused files (keys of an ordered dictionary) by reason.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.root = root
        self.files = list(files)
        self.ignored: dict[str, dict[str, None]] = {}
        self._used: set[Path] = set()

    @classmethod
    def open(
        cls,
        dataset_dir: str | Path,
        of: str,
        suffixes: Sequence[str] = (),
        key: str = "dataset_dir",
        listed: bool = True,
    ) -> Folder:
        """List the files of a folder.

        Args:
            dataset_dir: folder, or a single file with one of `suffixes`.
            of: description of the content for messages.
            suffixes: suffixes of single files in lower case.
            key: configuration key of the folder for messages.
            listed: whether to list the files.

        Raises:
            InputError: if the folder does not exist, or the single file is an output of a run.
        """
        root = Path(os.path.abspath(Path(dataset_dir).expanduser()))
        if root.is_file() and root.name.lower().endswith(tuple(suffixes)) and suffixes:
            if is_output(root):
                raise InputError(f"{key} {root}: expected a file of a data set, found the output of a run")
            return cls(root.parent, [root])
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise InputError(f"{key} {root}: expected a folder of {of}, found {found}")
        folder = cls(root, [])
        folder.files = list(folder._walk()) if listed else []
        return folder

    def _walk(self) -> Iterator[Path]:
        """Yield regular files sorted by path, parent folders first."""
        seen: set[tuple[int, int]] = set()
        waiting = [str(self.root)]
        while waiting:
            place = waiting.pop()
            try:
                state = os.stat(place)
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                with os.scandir(place) as entries:
                    members = sorted((one for one in entries if not is_hidden(one.name)), key=lambda one: one.name)
            except OSError:
                self.ignore(UNREADABLE, [Path(place)])
                continue
            yield from (Path(one.path) for one in members if self._is_file(one))
            waiting += [one.path for one in reversed(members) if _is_dir(one)]

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        """Return whether an entry is a readable regular file; other entries except folders are ignored."""
        try:
            if entry.is_file():
                if os.access(entry.path, os.R_OK):
                    return True
                reason = UNREADABLE
            elif entry.is_dir():
                return False
            else:
                reason = SPECIAL if os.path.exists(entry.path) else BROKEN_LINK
        except OSError:  # a circular link, or no permission for the folder
            reason = BROKEN_LINK
        self.ignore(reason, [Path(entry.path)])
        return False

    def relative(self, path: Path) -> str:
        """Return the path relative to the root with ``/``; for the root, its name."""
        if path == self.root:
            return self.root.name
        text, start = str(path), str(self.root).rstrip(os.sep) + os.sep
        return text.removeprefix(start).replace(os.sep, "/")

    def case_id(self, path: Path) -> str:
        """Return the path relative to the root without image suffix."""
        return strip_suffix(self.relative(path))

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Return files with one of the suffixes (lower case); outputs of runs are ignored."""
        files = [file for file in self.files if file.name.lower().endswith(suffixes)]
        outputs = {file for file in files if is_output(file)}
        self.ignore(OUTPUT, outputs)
        return [file for file in files if file not in outputs]

    @cached_property
    def volumes(self) -> list[Path]:
        """Files with `VOLUME_SUFFIXES`, including label maps."""
        return self.with_suffix(*VOLUME_SUFFIXES)

    @cached_property
    def images(self) -> list[Path]:
        """Files with `IMAGE_SUFFIXES`, including masks."""
        return self.with_suffix(*IMAGE_SUFFIXES)

    def ignore(self, reason: str, files: Iterable[Path]) -> None:
        """Record unused files with a reason, a plural noun such as "label maps"."""
        self.ignored.setdefault(reason, {}).update(dict.fromkeys(sorted(map(self.relative, files))))

    def mark_used(self, files: Iterable[Path]) -> None:
        """Mark further files as used, such as tables and DICOM slices."""
        self._used.update(files)

    def report(self, cases: Iterable[Case] = (), hints: Mapping[str, str] | None = None) -> None:
        """Print a line with the number of unused files by reason, if there are any.

        Args:
            cases: cases whose paths are the used files.
            hints: advice by reason.
        """
        if (line := self.describe_ignored(cases, hints)) and distributed.rank() == 0:
            print(escape(f"note: {self.root}: {line}"))

    def describe_ignored(self, cases: Iterable[Case] = (), hints: Mapping[str, str] | None = None) -> str:
        """Return the line of `report`; empty if all files are used."""
        used = {str(file) for file in self._used}
        for case in cases:
            for value in case.values():
                used.update(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
        used = {name.removeprefix(str(self.root).rstrip(os.sep) + os.sep).replace(os.sep, "/") for name in used}
        reasons = {reason: [name for name in names if name not in used] for reason, names in self.ignored.items()}
        listed = used.union(*reasons.values())
        headers = {strip_suffix(name) for name in used}
        rest = [name for file in self.files if (name := self.relative(file)) not in listed]
        rest = [name for name in rest if strip_suffix(name, DETACHED_SUFFIXES) not in headers and name != MARKER]
        parts = [f"{reason}: {len(names)} ({_some(names)})" for reason, names in reasons.items() if names]
        if rest:
            parts.append(f"{OTHER}: {len(rest)} ({_some(count_suffixes(rest))})")
        count = len(rest) + len(set().union(*reasons.values()))
        parts += dict.fromkeys(hint for reason, hint in (hints or {}).items() if reasons.get(reason))
        return f"{count_files(count)} {'is' if count == 1 else 'are'} not used: {'; '.join(parts)}" if parts else ""

    def describe(self) -> str:
        """Describe a folder for messages: number of files by suffix, and unused files by reason."""
        listed = set().union(*self.ignored.values())
        suffixes = Counter(_suffix(name) for file in self.files if (name := self.relative(file)) not in listed)
        parts = [f"{count_files(count)} with {_some([suffix])}" for suffix, count in suffixes.most_common(8)]
        parts += [f"{reason}: {len(names)} ({_some(list(names))})" for reason, names in self.ignored.items() if names]
        return ", ".join(parts) or "no files"


class Reader(ABC):
    """Reader of a published folder layout.

    A reader is built for a folder that its `detect` accepts. Its methods can be called in any order and do not write.

    Args:
        folder: the data set.

    Attributes:
        layout: description of the layout for messages, with its characteristic files.
        kind: kind of cases; `tools.data.readers.find_reader` selects among the readers of a kind.
    """

    layout: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @classmethod
    @abstractmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether a folder has this layout, fast and without messages."""

    @abstractmethod
    def cases(self) -> list[Case]:
        """List the cases sorted by id; raise `InputError` if there are none."""

    def labels(self) -> dict[str, Any] | None:
        """Return label values or class indices by name, without the background; None if unknown."""
        return None

    def channel_names(self) -> list[str] | None:
        """Return the channel names of the cases; None if unknown."""
        return None


def strip_suffix(name: str, suffixes: Sequence[str] = VOLUME_SUFFIXES + IMAGE_SUFFIXES) -> str:
    """Return a file name or path without suffix, if it is one of `suffixes` (lower case)."""
    lower = name.lower()
    suffix = next((one for one in suffixes if lower.endswith(one)), "")
    return name[: len(name) - len(suffix)]


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name is excluded from data sets, see `Folder`."""
    return name[0] == "." or name in SYSTEM_FOLDERS


def count_files(count: int) -> str:
    """Format a number of files: ``1 file``, ``2 files``."""
    return f"{count} file{'' if count == 1 else 's'}"


def count_suffixes(names: Iterable[str]) -> list[str]:
    """Return suffixes with their counts, most frequent first: ``.json``, ``2 .txt``."""
    found = Counter(_suffix(name) for name in names)
    return [suffix if count == 1 else f"{count} {suffix}" for suffix, count in found.most_common()]


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2]
    known = next((one for one in VOLUME_SUFFIXES if base.lower().endswith(one)), "")
    return known or os.path.splitext(base)[1] or "no suffix"


def images_of(case: Case) -> list[str]:
    """Return the image paths of a case."""
    return [case["image"]] if isinstance(case["image"], str) else case["image"]


def first_image(case: Case) -> str:
    """Return the path of the first image of a case."""
    return images_of(case)[0]


def check_unique_ids(cases: Sequence[Case]) -> None:
    """Raise `InputError` if two files have the same case id, such as ``a.nii`` and ``a.nii.gz``."""
    seen: dict[str, Case] = {}
    for case in cases:
        if (other := seen.setdefault(case["case"], case)) is not case:
            first, second = Path(first_image(other)), first_image(case)
            raise InputError(f"{second}: expected one file per case, found also {first.name}; remove one of them")


def _some(names: Sequence[str]) -> str:
    return escape(", ".join(names[:MAX_NAMED])) + (", …" if len(names) > MAX_NAMED else "")


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
