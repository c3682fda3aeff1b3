"""Checks of input files, and errors for files that cannot be read."""

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
    """Check that a path is a regular file that can be opened; opening a pipe would block.

    Args:
        path: file to read.
        expected: description of the file for the message.

    Raises:
        InputError: for a broken link, a pipe, a socket, a device, a folder, a missing file, or without permission.
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
    """Return the data file of a detached header, which must be in the folder of the header.

    Links in the folder are allowed, since git-annex uses them.

    Args:
        header: header file.
        name: file name in the header.
        expected: description of the data file for the message.

    Raises:
        InputError: if the path is outside the folder, and as `check_readable`.
    """
    folder = os.path.dirname(os.path.abspath(header))
    path = os.path.normpath(os.path.join(folder, name.replace("\\", "/")))
    if os.path.commonpath([folder, path]) != folder:
        raise InputError(f"{header}: expected a data file in the folder of the header, found {name}")
    check_readable(path, f"{expected} (data of {os.path.basename(header)})")
    return Path(path)


def unreadable_error(name: str, expected: str, error: Exception) -> InputError:
    """Return the error of a file that a library could not read, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{name}: expected a readable {expected}, found {type(error).__name__}: {reason}")
