"""Masks among 2D images, recognised by file name, folder name and pixels."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from tools.data.formats.images import open_image
from tools.data.readers import words
from tools.data.readers.base import Folder

LOSSY = (".jpg", ".jpeg")  # compression adds values to a mask, so that its name alone tells
SAMPLED = 32  # images read of a group of names that differ in digits alone; if one is a mask, all are read
SAMPLED_OF_ALL = 512  # images that are read of all groups together, but for one of each
ALIKE = 8  # images that make such a group; the others are one group
FEW = 16  # distinct colours of a mask, at most
CONSTANT = 0.5  # fraction of the pixels beside a structure's pixel that are its own
READ = 2**20  # pixels of an image that are compared, about; whole rows

_DIGITS = re.compile(r"\d+")
_FILE = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|manual\d?|\d(st|nd)_?(ho|manual\d?))", re.IGNORECASE)
_FOLDER = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|\d(st|nd)_manual)([\W_].*)?", re.IGNORECASE)


def is_mask_name(case: str) -> bool:
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
        if is_mask_name(case.rpartition("/")[2])
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
    limit = max(1, min(SAMPLED, SAMPLED_OF_ALL // (len(large) + 1)))
    return [file for files in [*large, rest] for file in _masks_of(files, limit)]


def _masks_of(files: Sequence[Path], limit: int) -> list[Path]:
    sample = files if len(files) <= limit else random.Random(0).sample(files, limit)
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
        state = path.stat()
        return _is_mask(path, state.st_size, state.st_mtime_ns)
    except Exception:
        return False


@lru_cache(maxsize=2**16)  # cases and channels are listed one after the other
def _is_mask(path: Path, size: int, time: int) -> bool | None:
    with open_image(path) as image:
        pixels = np.atleast_3d(np.asarray(image))
    rows = pixels[:: -(-pixels.shape[0] * pixels.shape[1] // READ)]
    codes = np.zeros(rows.shape[:2], np.int64)
    for channel in np.moveaxis(rows, -1, 0):
        values = np.unique(channel)
        if len(values) > FEW:
            return False
        codes = len(values) * codes + np.searchsorted(values, channel)
    colours, counts = np.unique(codes, return_counts=True)
    if not 1 < len(colours) <= FEW:
        return None if len(colours) == 1 else False
    inside = codes[:, :-1] != colours[counts.argmax()]
    same = codes[:, :-1] == codes[:, 1:]
    return bool(inside.any() and same[inside].mean() >= CONSTANT)
