"""Detection of masks among 2D images by file name, folder name and pixels."""

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

LOSSY = (".jpg", ".jpeg")  # compression adds values, so that only the name is used
SAMPLED = 32  # images read per group of names that differ only in digits; if one is a mask, all are read
SAMPLED_OF_ALL = 512  # maximum number of images read for all groups; at least one per group
MIN_GROUP = 8  # minimum size of such a group; the other images form one group
FEW = 16  # maximum number of distinct colours of a mask
CONSTANT = 0.5  # minimum fraction of equal neighbours within structures
READ = 2**20  # approximate number of compared pixels, in complete rows

_DIGITS = re.compile(r"\d+")
_FILE = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|manual\d?|\d(st|nd)_?(ho|manual\d?))", re.IGNORECASE)
_FOLDER = re.compile(r"(.*[\W_])?(superpixels?|ground_?truths?|\d(st|nd)_manual)([\W_].*)?", re.IGNORECASE)


def is_mask_name(case: str) -> bool:
    """Return whether the file name or a folder of a relative path (without suffix) indicates a mask."""
    *folders, name = case.split("/")
    return bool(words.is_label_map_path(case) or _FILE.fullmatch(name) or any(map(_FOLDER.fullmatch, folders)))


def masks_beside_images(folder: Folder, images: Iterable[Path]) -> list[Path]:
    """Find masks next to their images: ``benign (1)_mask.png`` next to ``benign (1).png``.

    A mask name alone is not sufficient, since classes may have such names.
    """
    ids = {folder.case_id(one): one for one in images}
    return [
        path
        for case, path in ids.items()
        if is_mask_name(case.rpartition("/")[2])
        and any(case[: found.start()] in ids for found in re.finditer(r"[\W_]", case))
    ]


def masks_by_content(folder: Folder, images: Iterable[Path]) -> list[Path]:
    """Find images with few colours in constant regions; only a sample of large groups of similar names is read.

    An image of one colour is a mask if most other images of its group are masks.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in images:
        if not file.name.lower().endswith(LOSSY):
            groups[_DIGITS.sub("0", folder.case_id(file))].append(file)
    large = [files for files in groups.values() if len(files) >= MIN_GROUP]
    rest = [file for files in groups.values() if len(files) < MIN_GROUP for file in files]
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
    """Return whether an image has few colours, and most foreground pixels equal their neighbours.

    Returns:
        None for an image of one colour. Unreadable images are not masks, since loading reports the error.
    """
    try:
        state = path.stat()
        return _is_mask(path, state.st_size, state.st_mtime_ns)
    except Exception:
        return False


@lru_cache(maxsize=2**16)  # cases and channels are listed separately
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
