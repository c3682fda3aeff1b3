"""The ``dataset.json`` of the Decathlon and of nnU-Net: files, channels and structures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.data.readers.base import Folder
from tools.utils.errors import InputError
from tools.utils.inputs import read_json

DATASET_FILE = "dataset.json"


def read_dataset_file(folder: Folder) -> dict[str, Any]:
    """Return the content of a folder's dataset.json, empty without one; a byte-order mark is skipped.

    Raises:
        InputError: the file is not JSON.
    """
    path = folder.root / DATASET_FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        return {}
    folder.mark_used([path])
    return content


def nested_dataset_hint(folder: Folder) -> str:
    """Return advice where a dataset.json lies in a subfolder, an empty text otherwise."""
    deeper = [file for file in folder.files if file.name == DATASET_FILE and file.parent != folder.root]
    return f"; {folder.relative(deeper[0])} describes a data set: give its folder as dataset_dir" if deeper else ""


def resolve_path(folder: Folder, name: Any, what: str) -> Path:
    """Return the path that a dataset.json names, relative to its folder, with ``/`` or the ``\\`` of Windows.

    Raises:
        InputError: it lies elsewhere.
    """
    path = Path(os.path.normpath(folder.root / name.replace("\\", "/"))) if isinstance(name, str) else None
    if path is None or not path.is_relative_to(folder.root):
        place = folder.root / DATASET_FILE
        raise InputError(f"{place}: expected each {what} as a path under its folder, found {name!r}")
    return path


def check_files_exist(folder: Folder, files: Sequence[Path], what: str) -> None:
    """Raise an `InputError` for files that a dataset.json names and that do not exist or cannot be read."""
    found = set(folder.files)
    if missing := [folder.relative(file) for file in files if file not in found]:
        raise InputError(
            f"{folder.root / DATASET_FILE}: {len(missing)} of the {len(files)} {what} it names are missing: "
            f"{', '.join(missing[:3])}"
        )


def read_channel_names(folder: Folder, key: str) -> list[str] | None:
    """Return the names of channels under a key of dataset.json (index to name, or a list), None without any.

    Raises:
        InputError: other indices than 0, 1, 2 …
    """
    names = read_dataset_file(folder).get(key)
    if not names:
        return None
    if isinstance(names, list):
        return [str(name) for name in names]
    try:
        by_index = {int(index): str(name) for index, name in names.items()}
    except (AttributeError, TypeError, ValueError):
        by_index = {}
    if sorted(by_index) != list(range(len(names))):
        where = folder.root / DATASET_FILE
        raise InputError(f"{where}: expected {key!r} as {{index: name}} with the indices 0, 1, …, found {names!r}")
    return [by_index[index] for index in range(len(names))]


def read_label_values(folder: Folder) -> dict[str, int] | None:
    """Return the stored value of each structure a dataset.json names, without the background, None without the file.

    Names and values may stand in either order. Regions of nnU-Net, which are lists of values, become the structures
    that they consist of: "whole tumor": [1, 2], "core": [2] become "whole tumor without core": 1, "core": 2.

    Raises:
        InputError: the "labels" are not numbers and names, each once; regions that do not tell their values apart.
    """
    content = read_dataset_file(folder)
    if not {"training", "labels"} & content.keys():
        return None
    labels = content.get("labels")
    where = folder.root / DATASET_FILE
    if isinstance(labels, dict) and any(isinstance(value, list) for value in labels.values()):
        return _parts_of_regions(labels, where)
    try:
        pairs = [
            (int(b), a) if isinstance(b, int) or (_is_number(b) and not _is_number(a)) else (int(a), b)
            for a, b in labels.items()
        ]
    except (AttributeError, TypeError, ValueError):
        pairs = []
    values = [value for value, _ in pairs if value != 0]
    structures = {str(name): value for value, name in sorted(pairs, key=lambda pair: pair[0]) if value != 0}
    if not values or not len(values) == len(set(values)) == len(structures):
        raise InputError(f"{where}: expected 'labels' as {{number: name}}, each once, found {labels!r}")
    if "ignore" in structures:
        raise InputError(f"{where}: expected labels of structures, found nnU-Net's 'ignore' label, which is not read")
    return structures


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal()


def _parts_of_regions(labels: dict[str, Any], where: Path) -> dict[str, int]:
    """Structures of nested or overlapping regions, by the regions that each value belongs to."""
    regions = {name: {*value} if isinstance(value, list) else {value} for name, value in labels.items()}
    regions = {name: values - {0} for name, values in regions.items() if values != {0} and name != "ignore"}
    values = set().union(*regions.values())
    if "ignore" in labels or not values or not all(type(value) is int for value in values):
        raise InputError(f"{where}: expected regions as lists of numbers and no 'ignore' label, found {labels!r}")
    found: dict[str, int] = {}
    for value in sorted(values):
        name, members = min(((n, m) for n, m in regions.items() if value in m), key=lambda pair: len(pair[1]))
        inner = [n for n, m in regions.items() if m < members]
        found.setdefault(name + (f" without {' and '.join(inner)}" if inner else ""), value)
    if len(found) < len(values):
        raise InputError(f"{where}: expected regions that tell the values {sorted(values)} apart, found {labels!r}")
    return found
