"""Folder trees of images: which files are looked at, the ids of cases, masks that lie beside the images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.data.msd import LABEL_FOLDERS
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

ITK_SUFFIXES = (".mha", ".mhd")
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", *ITK_SUFFIXES)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MASK = re.compile(r".*[_-](labels?|seg(mentation)?|masks?)", re.IGNORECASE)


def existing_folder(dataset_dir: str | Path, of: str) -> Path:
    """Absolute path of a folder.

    Raises:
        InputError: there is none; the message says that a folder `of` what was expected.
    """
    root = Path(os.path.abspath(Path(dataset_dir).expanduser()))
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InputError(f"dataset_dir {root}: expected a folder of {of}, found {found}")
    return root


def lone_file(dataset_dir: str | Path, suffixes: Sequence[str]) -> dict[str, Any] | None:
    """Case of a path that is one image file instead of a folder, named after it; None for anything else.

    Raises:
        InputError: a run wrote the file.
    """
    path = Path(os.path.abspath(Path(dataset_dir).expanduser()))
    if not path.is_file() or not path.name.lower().endswith(tuple(suffixes)):
        return None
    refuse_output("dataset_dir", path)
    return make_case(case_id(path, path.parent), path, "")


def refuse_output(key: str, path: Path) -> None:
    """Raise an `InputError` for a file that a run wrote; `key` is the setting that names it."""
    if is_output(path):
        raise InputError(f"{key} {path}: expected a file of a data set, found one that a run of a bundle wrote")


def without_outputs(root: Path, files: Iterable[Path]) -> list[Path]:
    """Files that no run wrote; a note counts the others."""
    files = list(files)
    outputs = {file for file in files if is_output(file)}
    if outputs:
        names = ", ".join(path.relative_to(root).as_posix() for path in sorted(outputs)[:3])
        print(f"note: {root}: {len(outputs)} files that earlier runs wrote are ignored ({names})")
    return [file for file in files if file not in outputs]


def walk(root: Path, label_folders: list[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Yield folders with their files, without hidden names, links in a circle and label folders (which are listed)."""
    seen: set[str] = set()
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        if (real := os.path.realpath(name)) in seen:
            folders.clear()
            continue
        seen.add(real)
        label_folders += [
            (folder / one).relative_to(root).as_posix() for one in sorted(folders) if one in LABEL_FOLDERS
        ]
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in LABEL_FOLDERS)
        yield folder, [folder / one for one in sorted(files) if not one.startswith(".")]


def case_id(path: Path, root: Path) -> str:
    """Path relative to the root without an image suffix; the root's own name for the root itself."""
    relative = path.relative_to(root).as_posix() if path != root else root.name
    suffix = next((one for one in VOLUME_SUFFIXES + PICTURE_SUFFIXES if relative.lower().endswith(one)), "")
    return relative[: len(relative) - len(suffix)]


def make_case(case: str, image: Path | list[Path], patient: str) -> dict[str, Any]:
    """Dictionary of a case; the ``sub-…`` part of a BIDS path stands before `patient`, the case id behind it."""
    bids = re.search(r"(?:^|/)(sub-[^_/]+)", case)
    return {
        "case": case,
        "patient": bids.group(1) if bids else patient or case,
        "image": [str(path) for path in image] if isinstance(image, list) else str(image),
    }


def report_label_folders(root: Path, label_folders: list[str]) -> None:
    """Say which label folders `walk` left out."""
    if label_folders:
        print(f"note: {root}: label folders left out: {', '.join(label_folders[:3])}")


def report_masks(root: Path, masks: list[Path], hint: str = "") -> None:
    """Say which files named like masks are left out."""
    if masks:
        names = ", ".join(path.relative_to(root).as_posix() for path in masks[:3])
        print(f"note: {root}: {len(masks)} files named like masks left out ({names}){hint}")


def refuse_equal_ids(root: Path, images: Iterable[Path]) -> None:
    """Raise an `InputError` for two files with one case id."""
    seen: dict[str, Path] = {}
    for image in images:
        if (other := seen.setdefault(case_id(image, root), image)) != image:
            raise InputError(f"{image}: expected one file per case, found {other.name} beside it; keep one of them")


def say_suffixes(suffixes: Counter[str]) -> str:
    """What a folder holds, in words."""
    return ", ".join(f"{count} files with {suffix}" for suffix, count in suffixes.most_common(8)) or "no files"
