"""The ``dataset.json`` of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tools.errors import InputError

LABEL_FOLDERS = ("labelsTr", "labelsTs")


def read_msd(root: Path) -> dict[str, Any] | None:
    """Content of a folder's dataset.json, or None when there is none that lists training images.

    Raises:
        InputError: the file is not JSON.
    """
    path = root / "dataset.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found {error}") from error
    return content if isinstance(content, dict) and isinstance(content.get("training"), list) else None


def msd_images(root: Path, content: dict[str, Any], on_disk: set[Path]) -> list[Path]:
    """Images a dataset.json names, training first, then test.

    Args:
        root: the data set's folder.
        content: as `read_msd` gives it.
        on_disk: the volumes found under `root`; those the list does not name are told in one line.

    Raises:
        InputError: no images, an entry without an image, or images that are missing on disk.
    """
    path = root / "dataset.json"
    images = []
    for entry in [*content["training"], *(content.get("test") or [])]:
        name = entry.get("image") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            raise InputError(f"{path}: expected an image path in each entry, found {entry!r}")
        images.append(Path(os.path.normpath(root / name)))
    if not images:
        raise InputError(f"{path}: expected images in 'training', found none")
    missing = [image.relative_to(root).as_posix() for image in images if not image.is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of the {len(images)} images it names are missing: {', '.join(missing[:3])}"
        )
    if extra := sorted(on_disk - set(images)):
        print(f"note: {path}: {len(extra)} images it does not name are left out: {extra[0].relative_to(root)}")
    return images


def msd_modalities(content: dict[str, Any]) -> list[str] | None:
    """Channel names of a dataset.json in channel order, or None when it has none."""
    names = content.get("modality")
    return [names[key] for key in sorted(names, key=int)] if names else None
