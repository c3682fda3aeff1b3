"""Checks of input files before a library opens them, and errors for files that a library cannot read."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tools.utils.errors import InputError

#: default of the key ``max_voxels``: a CT of 2048 slices of 512 x 512, or a colour image of 178 million pixels
MAX_VOXELS = 2**29
DEFLATE_RATIO = 1100  # bytes that a byte of a compressed file can hold, at most

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_source(path: str | Path, expected: str) -> None:
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
        InputError: the path leaves the folder, or as `check_source`.
    """
    folder = os.path.dirname(os.path.abspath(header))
    path = os.path.normpath(os.path.join(folder, name.replace("\\", "/")))
    if os.path.commonpath([folder, path]) != folder:
        raise InputError(f"{header}: expected a data file in the folder of the header, found {name}")
    check_source(path, f"{expected} (data of {os.path.basename(header)})")
    return Path(path)


def check_declared_size(
    name: str | Path, shape: Sequence[int], max_voxels: int = MAX_VOXELS, item_size: int = 0, stored: int | None = None
) -> None:
    """Refuse an image whose header declares more than the file can hold or memory should hold, before it is read.

    Args:
        name: file name for messages.
        shape: declared size, channels included.
        max_voxels: largest number of values over all channels.
        item_size: bytes of a value.
        stored: bytes that the file holds at most, after decompression; None if that is unknown.

    Raises:
        InputError: with the declared size, and for a large image with the key ``max_voxels``.
    """
    size = " x ".join(map(str, shape))
    if min(shape, default=0) < 1:
        raise InputError(f"{name}: expected at least one voxel along each axis, found size {size or 'none'}")
    voxels = math.prod(map(int, shape))  # numpy's product overflows
    if stored is not None and voxels * item_size > stored:
        raise InputError(
            f"{name}: expected a file that holds {size} values of {item_size} bytes, found at most {stored} bytes; the "
            "file is damaged"
        )
    if voxels > max_voxels:
        raise InputError(
            f"{name}: expected at most {max_voxels} voxels (max_voxels), found {size}; pass a larger --max_voxels if "
            "the memory suffices"
        )


def unreadable(name: str, expected: str, error: Exception) -> InputError:
    """Error of a file that a library could not read, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{name}: expected a readable {expected}, found {type(error).__name__}: {reason}")
