"""Reader of ``dataset.json`` of the Decathlon and nnU-Net: files, channels and labels."""

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
    """Return the content of dataset.json; empty if there is none.

    Raises:
        InputError: if the file is not valid JSON.
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
    """Return advice if a subfolder has a dataset.json; an empty string otherwise."""
    deeper = [file for file in folder.files if file.name == DATASET_FILE and file.parent != folder.root]
    return f"; set dataset_dir to the folder of {folder.relative(deeper[0])}" if deeper else ""


def resolve_path(folder: Folder, name: Any, what: str) -> Path:
    """Return the path of a file in dataset.json, relative to its folder, with ``/`` or ``\\`` as separator.

    Raises:
        InputError: if the path is outside the folder.
    """
    path = Path(os.path.normpath(folder.root / name.replace("\\", "/"))) if isinstance(name, str) else None
    if path is None or not path.is_relative_to(folder.root):
        place = folder.root / DATASET_FILE
        raise InputError(f"{place}: expected each {what} as a path in its folder, found {name!r}")
    return path


def check_files_exist(folder: Folder, files: Sequence[Path], what: str) -> None:
    """Raise `InputError` if files in dataset.json do not exist or cannot be read."""
    found = set(folder.files)
    if missing := [folder.relative(file) for file in files if file not in found]:
        raise InputError(
            f"{folder.root / DATASET_FILE}: expected {len(files)} {what}, found {len(missing)} of them missing: "
            f"{', '.join(missing[:3])}"
        )


def read_channel_names(folder: Folder, key: str) -> list[str] | None:
    """Return the channel names under a key of dataset.json (index to name, or a list); None without a value.

    Raises:
        InputError: if the indices are not 0, 1, 2 …
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
    """Return the label values in dataset.json by name, without the background; None without the file.

    Both ``{name: value}`` and ``{value: name}`` are supported. Regions of nnU-Net (lists of values) are converted to
    labels: ``{"whole tumor": [1, 2], "core": [2]}`` becomes ``{"whole tumor without core": 1, "core": 2}``.

    Raises:
        InputError: if "labels" are not unique numbers and names, or regions do not distinguish their values.
    """
    content = read_dataset_file(folder)
    if not {"training", "labels"} & content.keys():
        return None
    labels = content.get("labels")
    where = folder.root / DATASET_FILE
    if isinstance(labels, dict) and any(isinstance(value, list) for value in labels.values()):
        return _labels_of_regions(labels, where)
    try:
        pairs = [
            (int(b), a) if isinstance(b, int) or (_is_number(b) and not _is_number(a)) else (int(a), b)
            for a, b in labels.items()
        ]
    except (AttributeError, TypeError, ValueError):
        pairs = []
    values = [value for value, _ in pairs if value != 0]
    found = {str(name): value for value, name in sorted(pairs, key=lambda pair: pair[0]) if value != 0}
    if not values or not len(values) == len(set(values)) == len(found):
        raise InputError(f"{where}: expected 'labels' as {{number: name}}, all unique, found {labels!r}")
    if "ignore" in found:
        raise InputError(f"{where}: expected no 'ignore' label, which is not supported, found one")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal()


def _labels_of_regions(labels: dict[str, Any], where: Path) -> dict[str, int]:
    """Convert nested or overlapping regions to labels, by the regions of each value."""
    listed = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    if not all(type(value) is int for values in listed.values() for value in values):
        raise InputError(f"{where}: expected regions as lists of numbers, found {labels!r}")
    regions = {name: {*values} for name, values in listed.items()}
    regions = {name: values - {0} for name, values in regions.items() if values != {0} and name != "ignore"}
    values = set().union(*regions.values())
    if "ignore" in labels or not values:
        raise InputError(f"{where}: expected regions as lists of numbers and no 'ignore' label, found {labels!r}")
    found: dict[str, int] = {}
    for value in sorted(values):
        name, members = min(((n, m) for n, m in regions.items() if value in m), key=lambda pair: len(pair[1]))
        inner = [n for n, m in regions.items() if m < members]
        found.setdefault(name + (f" without {' and '.join(inner)}" if inner else ""), value)
    if len(found) < len(values):
        raise InputError(f"{where}: expected regions that distinguish the values {sorted(values)}, found {labels!r}")
    return found
