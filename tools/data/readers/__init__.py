"""Folder layouts of data sets: one module per layout, one list of them."""

from __future__ import annotations

from tools.data.readers.base import Case, Folder, Reader
from tools.utils.errors import InputError

#: all layouts; of one kind, the first that recognises a folder reads it
READERS: tuple[type[Reader], ...] = ()


def find_reader(folder: Folder, kind: str, **options: object) -> Reader:
    """Return the reader of a folder's layout.

    Args:
        folder: the data set.
        kind: what its cases are, see `Reader`.
        options: further arguments of the readers of that kind.

    Raises:
        InputError: no reader of the kind recognises the folder.
    """
    readers = [one for one in READERS if one.kind == kind]
    found = next((one for one in readers if one.detect(folder)), None)
    if found is None:
        layouts = "; ".join(one.layout for one in readers)
        raise InputError(f"dataset_dir {folder.root}: expected {layouts}; found {folder.describe()}")
    return found(folder, **options)


__all__ = ["READERS", "Case", "Folder", "Reader", "find_reader"]
