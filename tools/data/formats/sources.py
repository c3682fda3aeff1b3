"""Checks of input files before a library opens them, and errors for files that a library cannot read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tools.utils.errors import InputError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_readable(path: str | Path, expected: str) -> None:
    """Refuse a path that is no regular file or cannot be opened; opening a pipe would wait forever.

    Args:
        path: file to read.
        expected: what it should be, for the message.

    Raises:
        InputError: a broken link, a pipe, a socket, a device, a folder, a missing file, or no permission.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFREG:
            open(path, "rb").close()
            return
        found = KINDS.get(kind, "a special file")
    except OSError as error:
        broken = os.path.islink(path) and not os.path.exists(path)
        found = f"a broken link to {os.readlink(path)}" if broken else error.strerror or str(error)
    raise InputError(f"{path}: expected a readable {expected}, found {found}")


def check_detached(header: str | Path, name: str, expected: str) -> Path:
    """Path of the data file that a detached header names; refuses one outside the folder of the header.

    A link inside the folder may lead elsewhere, as git-annex stores files.

    Args:
        header: the header file.
        name: its entry.
        expected: what the data file should hold, for the message.

    Raises:
        InputError: the path leaves the folder, or as `check_readable`.
    """
    folder = os.path.dirname(os.path.abspath(header))
    path = os.path.normpath(os.path.join(folder, name.replace("\\", "/")))
    if os.path.commonpath([folder, path]) != folder:
        raise InputError(f"{header}: expected a data file in the folder of the header, found {name}")
    check_readable(path, f"{expected} (data of {os.path.basename(header)})")
    return Path(path)


def unreadable_error(name: str, expected: str, error: Exception) -> InputError:
    """Error of a file that a library could not read, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{name}: expected a readable {expected}, found {type(error).__name__}: {reason}")
