"""Checks of input files, and errors for files that cannot be read."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from tools.utils.errors import InputError
from tools.utils.inputs import check_readable

#: default of the key ``max_voxels``: a CT of 2048 slices of 512 x 512, or a colour image of 178 million pixels
MAX_VOXELS = 2**29
DEFLATE_RATIO = 1100  # bytes that a byte of a compressed file can hold, at most


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


def check_declared_size(
    name: str | Path, shape: Sequence[int], max_voxels: int = MAX_VOXELS, item_size: int = 0, stored: int | None = None
) -> None:
    """Raise before reading an image whose header declares more than the file or memory can hold.

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
