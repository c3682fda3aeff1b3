"""Masks among 2D images, recognised by file name, folder name and pixels."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tools.data.formats.images import open_image
from tools.data.readers import words
from tools.data.readers.base import Folder

LOSSY = (".jpg", ".jpeg")  # compression adds values to a mask, so that its name alone tells
SAMPLED = 32  # images read of a group of names that differ in digits alone; if one is a mask, all are read
ALIKE = 8  # images that make such a group; the others are one group
FEW = 16  # distinct colours of a mask, at most
CONSTANT = 0.5  # fraction of the pixels beside a structure's pixel that are its own
STEP = 16  # between the pixels that are compared first

_DIGITS = re.compile(r"\d+")
_FILE = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|manual\d?|\d(st|nd)_?(ho|manual\d?))", re.IGNORECASE)
_FOLDER = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|\d(st|nd)_manual)([\W_].*)?", re.IGNORECASE)


def names_mask(case: str) -> bool:
    """Return whether a relative path (without suffix) is that of a mask, by its last part or a folder in it."""
    *folders, name = case.split("/")
    return bool(words.is_label_map_path(case) or _FILE.fullmatch(name) or any(map(_FOLDER.fullmatch, folders)))


def masks_beside_images(folder: Folder, images: Iterable[Path]) -> list[Path]:
    """Find the masks that lie beside their images: ``benign (1)_mask.png`` beside ``benign (1).png``.

    The words that a folder or another file begins with do not count, since a class may be named after a mask.
    """
    ids = {folder.case_id(one): one for one in images}
    return [
        path
        for case, path in ids.items()
        if names_mask(case.rpartition("/")[2])
        and any(case[: found.start()] in ids for found in re.finditer(r"[\W_]", case))
    ]


def masks_by_content(folder: Folder, images: Iterable[Path]) -> list[Path]:
    """Find images of few colours in constant parts; of many with names that differ in digits alone, some first.

    An image of one colour is a mask if most of the others with such names are.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in images:
        if not file.name.lower().endswith(LOSSY):
            groups[_DIGITS.sub("0", folder.case_id(file))].append(file)
    large = [files for files in groups.values() if len(files) >= ALIKE]
    rest = [file for files in groups.values() if len(files) < ALIKE for file in files]
    return [file for files in [*large, rest] for file in _masks_of(files)]


def _masks_of(files: Sequence[Path]) -> list[Path]:
    sample = files if len(files) <= SAMPLED else random.Random(0).sample(files, SAMPLED)
    found = {file: is_mask(file) for file in sample}
    if any(found.values()):
        found |= {file: is_mask(file) for file in files if file not in found}
    most = sum(map(bool, found.values())) > sum(one is False for one in found.values())
    return [file for file in files if found.get(file, False) or (most and found.get(file, False) is None)]


def is_mask(path: Path) -> bool | None:
    """Return whether an image has few colours, and most pixels off the background equal those beside them.

    Returns:
        None for an image of one colour. One that cannot be read is no mask; loading it reports the error.
    """
    try:
        with open_image(path) as image:
            pixels = np.atleast_3d(np.asarray(image))
    except Exception:
        return False
    if _count(pixels[::STEP, ::STEP]) > FEW or (count := _count(pixels)) > FEW:
        return False
    if count == 1:
        return None
    colours, codes = np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0, return_inverse=True)
    codes = codes.reshape(pixels.shape[:2])
    inside = codes[:, :-1] != np.bincount(codes.ravel(), minlength=len(colours)).argmax()
    return bool((codes[:, :-1] == codes[:, 1:])[inside].mean() >= CONSTANT) if inside.any() else False


def _count(pixels: np.ndarray) -> int:
    """Number of distinct colours (H, W, C), counted exactly only where each channel has few values."""
    values = max(len(np.unique(pixels[..., channel])) for channel in range(pixels.shape[2]))
    return values if values > FEW else len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0))
