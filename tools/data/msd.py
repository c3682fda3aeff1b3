"""The ``dataset.json`` of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tools.utils.errors import InputError

LABEL_FOLDERS = ("labelsTr", "labelsTs")


def read_msd(root: Path) -> dict[str, Any] | None:
    """Content of a folder's dataset.json, or None when there is none that lists training images.

    Raises:
        InputError: the file is not JSON.
    """
    content = _read(root)
    return content if isinstance(content.get("training"), list) else None


def msd_images(root: Path, content: dict[str, Any], on_disk: set[Path]) -> list[Path]:
    """Images a dataset.json names, training first, then test.

    Args:
        root: the data set's folder.
        content: as `read_msd` gives it.
        on_disk: the volumes found under `root`; those the list does not name are told in one line.

    Raises:
        InputError: no images, an entry without an image under `root`, or images that are missing on disk.
    """
    path = root / "dataset.json"
    entries = [*content["training"], *(content.get("test") or [])]
    images = [_inside(root, entry.get("image") if isinstance(entry, dict) else entry, "image") for entry in entries]
    if not images:
        raise InputError(f"{path}: expected images in 'training', found none")
    _refuse_missing(root, images, "images")
    if extra := sorted(on_disk - set(images)):
        print(f"note: {path}: {len(extra)} images it does not name are left out: {extra[0].relative_to(root)}")
    return images


def msd_labels(root: Path, content: dict[str, Any]) -> dict[Path, Path]:
    """Label maps a dataset.json names, by image.

    Raises:
        InputError: labels that are missing on disk or elsewhere than under `root`.
    """
    pairs = [entry for entry in content["training"] if isinstance(entry, dict) and entry.get("label") is not None]
    labels = {_inside(root, pair.get("image"), "image"): _inside(root, pair["label"], "label") for pair in pairs}
    _refuse_missing(root, list(labels.values()), "labels")
    return labels


def msd_structures(root: Path) -> dict[str, int] | None:
    """Stored value of each structure a folder's dataset.json names, without the background, or None if it has none.

    The file need not list images: for a folder without a list, "labels" alone will do.

    Raises:
        InputError: the file is not JSON, or its "labels" are not numbers and names, each once.
    """
    content = _read(root)
    if not {"training", "labels"} & content.keys():
        return None
    labels = content.get("labels")
    try:
        pairs = [(int(b), a) if isinstance(b, int) else (int(a), b) for a, b in labels.items()]  # both ways are in use
    except (AttributeError, TypeError, ValueError):
        pairs = []
    values = [value for value, _ in pairs if value != 0]
    structures = {str(name): value for value, name in sorted(pairs) if value != 0}
    if not values or not len(values) == len(set(values)) == len(structures):
        raise InputError(f"{root / 'dataset.json'}: expected 'labels' as {{number: name}}, each once, found {labels!r}")
    return structures


def msd_modalities(content: dict[str, Any]) -> list[str] | None:
    """Channel names of a dataset.json in channel order, or None when it has none."""
    names = content.get("modality")
    return [names[key] for key in sorted(names, key=int)] if names else None


def _read(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found {error}") from error
    return content if isinstance(content, dict) else {}


def _inside(root: Path, name: Any, what: str) -> Path:
    path = Path(os.path.normpath(root / name)) if isinstance(name, str) else None
    if path is None or not path.is_relative_to(root):
        raise InputError(f"{root / 'dataset.json'}: expected each {what} as a path under its folder, found {name!r}")
    return path


def _refuse_missing(root: Path, files: list[Path], what: str) -> None:
    missing = [file.relative_to(root).as_posix() for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{root / 'dataset.json'}: {len(missing)} of the {len(files)} {what} it names are missing: "
            f"{', '.join(missing[:3])}"
        )
