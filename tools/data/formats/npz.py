"""Reading of arrays in npz files without unpickling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.data.formats.sources import MAX_VOXELS, check_declared_size
from tools.utils.errors import InputError
from tools.utils.inputs import check_readable

_lock = threading.Lock()


@contextmanager
def open_arrays(path: str | Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an npz file.

    Raises:
        InputError: if the file is not an npz file, is damaged (also in the context), or contains pickled objects.
    """
    check_readable(path, "npz file")
    try:
        arrays = np.load(path, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: expected an npz file of named arrays, found a single array")
        with arrays:
            yield arrays
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise various errors
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        found = "pickled objects, which are never loaded" if "pickle" in found else found
        raise InputError(f"{path}: expected a readable npz file of numbers, found {found}") from error


def array_names(path: str | Path) -> list[str]:
    """Return the array names of an npz file; raises as `open_arrays`."""
    with open_arrays(path) as arrays:
        return list(arrays.files)


def read_array(path: str | Path, name: str, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """Read one array of an npz file.

    Args:
        path: npz file.
        name: name of the array.
        max_voxels: largest number of values.

    Raises:
        InputError: as `open_arrays`, and if the array does not exist or has no real numbers.
    """
    with open_arrays(path) as arrays:
        shape, dtype = _header(path, name, arrays)
        if dtype.kind not in "biuf":
            raise InputError(f"{path}: expected numbers in {name!r}, found {dtype}")
        stored = arrays.zip.getinfo(f"{name}.npy").file_size
        check_declared_size(f"{path}, {name}", shape or (1,), max_voxels, dtype.itemsize, stored)
        return arrays[name]


def array_shape(path: str | Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array of an npz file without reading it; raises as `read_array`."""
    with open_arrays(path) as arrays:
        return _header(path, name, arrays)[0]


def _header(path: str | Path, name: str, arrays: np.lib.npyio.NpzFile) -> tuple[tuple[int, ...], np.dtype]:
    """Return the declared size and type of an array."""
    if name not in arrays.files:
        raise InputError(f"{path}: expected an array {name!r}, found {', '.join(arrays.files) or 'none'}")
    with arrays.zip.open(f"{name}.npy") as file:
        read = np.lib.format.read_array_header_1_0
        if np.lib.format.read_magic(file) != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise InputError(f"{path}: expected numbers in {name!r}, found pickled objects, which are never loaded")
    return shape, dtype


def read_item(path: str | Path, name: str, index: int, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """Read one item of an array of an npz file.

    The last array is cached, since compressed arrays can only be read completely. A lock serialises threads.

    Raises:
        InputError: as `read_array`, and if the index is out of range.
    """
    with _lock:
        array = _cached_array(_State.of(path), name, max_voxels)
    if array.ndim == 0 or not 0 <= index < len(array):
        raise InputError(f"{path}: expected item {index} in {name!r}, found size {array.shape}")
    return array[index]


class _State(NamedTuple):
    """Path, size and modification time of a file."""

    path: str
    size: int
    time: int

    @classmethod
    def of(cls, path: str | Path) -> _State:
        try:
            state = Path(path).stat()
        except OSError as error:
            raise InputError(f"{path}: expected an npz file, found nothing ({error.strerror})") from error
        return cls(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _cached_array(state: _State, name: str, max_voxels: int) -> np.ndarray:
    return read_array(state.path, name, max_voxels)
