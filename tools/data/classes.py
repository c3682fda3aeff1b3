"""Pictures sorted into folders by class, as ImageNet is: with training and validation parts, or without."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.data import folders
from tools.data.folders import PICTURE_SUFFIXES, case_id
from tools.data.split import Split, split_cases
from tools.utils.errors import InputError

#: folder names of the parts
PART_FOLDERS = {"training": ("train", "training"), "validation": ("val", "validation", "valid")}
MAX_NAMED = 5
OUTPUT = "output"  # counted among the suffixes


def find_classified_pictures(dataset_dir: str | Path) -> list[dict[str, Any]]:
    """List the pictures of a folder with a folder per class, sorted by case id.

    Either ``<class>/…`` or ``train/<class>/…`` and ``val/<class>/…``. Pictures may lie deeper; hidden files and folders
    are passed over.

    Args:
        dataset_dir: the folder.

    Returns:
        For each picture ``{"case": id, "patient": id, "image": path, "class": name, "label": its place among the sorted
        names}``, and "part" ("training" or "validation") where the folders say.

    Raises:
        InputError: fewer than two classes, a class without pictures, or classes that differ between the parts.
    """
    root = folders.existing_folder(dataset_dir, "pictures in a folder per class")
    parts = {part: place for part in PART_FOLDERS if (place := _part_folder(root, part)) is not None}
    if parts and len(parts) < len(PART_FOLDERS):
        raise InputError(
            f"dataset_dir {root}: expected train and val, or a folder per class, found only {parts.popitem()[1].name}"
        )
    found = {part: _pictures_by_class(place) for part, place in (parts or {"": root}).items()}
    names = [set(classes) for classes in found.values()]
    if len(names) > 1 and names[0] != names[1]:
        apart = ", ".join(sorted(names[0] ^ names[1])[:MAX_NAMED])
        raise InputError(f"dataset_dir {root}: expected the same classes in both parts, found in one only: {apart}")
    labels = {name: label for label, name in enumerate(sorted(names[0]))}
    if len(labels) < 2:
        raise InputError(f"dataset_dir {root}: expected at least 2 classes, a folder each, found {len(labels)}")
    cases = [
        {"case": (case := case_id(path, root)), "patient": case, "image": str(path), "class": name}
        | {"label": labels[name]}
        | ({"part": part} if part else {})
        for part, classes in found.items()
        for name, pictures in classes.items()
        for path in pictures
    ]
    return sorted(cases, key=lambda case: case["case"])


def class_names(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the classes in the order of their labels."""
    return sorted({case["class"] for case in cases})


def split_pictures(
    cases: Sequence[dict[str, Any]],
    validation_fraction: float = 0.1,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Split:
    """Split pictures as their folders say, or by the hash of their ids where these say nothing.

    Args:
        cases: as `find_classified_pictures` gives them.
        validation_fraction: share that validates, where the folders do not say; in (0, 1).
        split_file: a ``split.json`` to follow instead.
        output_dir: folder of ``split.json``, see `Split`; unused where the folders are the split.

    Returns:
        The cases under "training" and "validation", these in the order of a hash, so that the first show all classes.

    Raises:
        InputError: see `split_cases`; a class without a picture to train on.
    """
    if split_file is None and "part" in cases[0]:
        parts = {part: [case for case in cases if case["part"] == part] for part in PART_FOLDERS}
        split = Split(parts, parts)
    else:
        split = split_cases(cases, validation_fraction, split_file, output_dir)
    trained = {case["class"] for case in split["training"]}
    if lacking := [name for name in class_names(cases) if name not in trained]:
        named = ", ".join(lacking[:MAX_NAMED])
        raise InputError(f"training data: expected pictures of every class, found none of {named}")
    split["validation"].sort(key=_mixed)
    return split


def _mixed(case: dict[str, Any]) -> str:
    return hashlib.sha256(case["case"].encode(errors="surrogateescape")).hexdigest()


def _part_folder(root: Path, part: str) -> Path | None:
    return next((root / name for name in PART_FOLDERS[part] if (root / name).is_dir()), None)


def _pictures_by_class(root: Path) -> dict[str, list[Path]]:
    """Pictures below every folder of `root`, by the folder's name; a folder with outputs alone is no class."""
    classes: dict[str, list[Path]] = {
        folder.name: [] for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")
    }
    suffixes: dict[str, Counter[str]] = {name: Counter() for name in classes}
    found = [(folder, file) for folder, files in folders.walk(root, []) if folder != root for file in files]
    kept = set(folders.without_outputs(root, (file for _, file in found)))
    for folder, file in found:
        name = folder.relative_to(root).parts[0]
        if file not in kept:
            suffixes[name][OUTPUT] += 1
        elif file.name.lower().endswith(PICTURE_SUFFIXES):
            classes[name].append(file)
        else:
            suffixes[name][file.suffix or "no suffix"] += 1
    classes = {name: pictures for name, pictures in classes.items() if pictures or not suffixes[name][OUTPUT]}
    for name, pictures in classes.items():
        if not pictures:
            found, expected = folders.say_suffixes(suffixes[name]), ", ".join(PICTURE_SUFFIXES)
            raise InputError(f"{root / name}: expected pictures of a class ({expected}), found {found}")
        folders.refuse_equal_ids(root, pictures)
    return classes
