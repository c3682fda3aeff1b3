"""Finding photographs: any folder tree of PNG, JPEG, TIFF and BMP files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from pydicom.misc import is_dicom

from tools.data import folders
from tools.data.cases import channel_names, find_cases
from tools.data.folders import PICTURE_SUFFIXES, VOLUME_SUFFIXES, case_id
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

ASKED = 64  # pictures whose headers are read, about
COLOURS = ["red", "green", "blue"]
EYE = re.compile(r"(.+)[/_-](left|right|l|r|od|os)", re.IGNORECASE)
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows more, some of which start other programs

# Pillow warns of large pictures and odd metadata, and reads them; a filter for each file would not be safe in threads
warnings.filterwarnings("ignore", module=r"PIL\.")


def find_pictures(dataset_dir: str | Path, advise_slices: bool = False) -> list[dict[str, Any]]:
    """List the pictures under a folder, sorted by case id.

    Hidden files are left out, and with a note so are files named like masks and what lies in folders named so.

    Args:
        dataset_dir: the folder, or a single picture.
        advise_slices: whether a configuration has the key `slice_axis`, so that messages may advise it.

    Returns:
        For each picture ``{"case": id, "patient": id, "image": path}``. The case id is the path relative to
        `dataset_dir` without its suffix. The patient is the ``sub-…`` part of a BIDS path, else the case id, without
        the eye it ends in (``_left``, ``_R``, ``_OD``, ...).

    Raises:
        InputError: no pictures, or two files with one case id.
    """
    if (lone := folders.lone_file(dataset_dir, PICTURE_SUFFIXES)) is not None:
        return [lone]
    root = folders.existing_folder(dataset_dir, "pictures")
    label_folders: list[str] = []
    pictures, masks = _scan(root, label_folders, advise_slices)
    pictures = folders.without_outputs(root, pictures)
    if not pictures:
        raise InputError(f"dataset_dir {root}: expected pictures, found only files that earlier runs wrote and masks")
    folders.report_label_folders(root, label_folders)
    folders.report_masks(root, masks)
    folders.refuse_equal_ids(root, pictures)
    named = sorted((case_id(path, root), path) for path in pictures)
    return [folders.make_case(case, path, _patient(case)) for case, path in named]


def find_images(
    dataset_dir: str | Path, slice_axis: int | None = None, channels: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """List what a 2D network is trained on.

    Args:
        dataset_dir: the folder.
        slice_axis: None for pictures (see `find_pictures`); else the cases are volumes (see `find_cases`).
        channels: channel names and file name patterns of volumes.

    Raises:
        InputError: nothing is found, or `channels` are given for pictures.
    """
    if slice_axis is not None:
        return find_cases(dataset_dir, channels)
    _refuse_channels(channels)
    return find_pictures(dataset_dir, advise_slices=True)


def image_channels(
    dataset_dir: str | Path, slice_axis: int | None = None, channels: Mapping[str, str] | None = None
) -> list[str] | None:
    """Names of the channels of what `find_images` gives.

    Pictures are asked for by their headers, some of many: "red", "green" and "blue" when most are in colour, or "grey".
    Volumes have the names of `channel_names`, None when nothing tells.

    Raises:
        InputError: no readable pictures, or `channels` are given for pictures.
    """
    if slice_axis is not None:
        return channel_names(dataset_dir, channels)
    _refuse_channels(channels)
    root = folders.existing_folder(dataset_dir, "pictures")
    pictures = sorted(_scan(root, [], advise_slices=True)[0])
    asked = [path for path in pictures[:: len(pictures) // ASKED + 1] if not is_output(path)]
    grey = [found for path in asked if (found := _is_grey(path)) is not None]
    if not grey:
        raise InputError(f"dataset_dir {root}: expected readable pictures, found none among {len(pictures)} files")
    return ["grey"] if 2 * sum(grey) > len(grey) else list(COLOURS)


def _is_grey(path: Path) -> bool | None:
    """Whether a picture has one channel; None when it cannot be read, which is said when all are read."""
    try:
        with open_picture(path) as picture:
            return is_grey(picture)
    except Exception:
        return None


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture and read its header."""
    # given a path, Pillow maps uncompressed TIFF files with the edges they have once turned
    with open(path, "rb") as file, Image.open(file, formats=FORMATS) as picture:
        yield picture


def is_grey(picture: Image.Image) -> bool:
    """Whether a picture has one channel, of any depth, beside a mask of transparency."""
    return Image.getmodebase(picture.mode) == "L"


def _scan(root: Path, label_folders: list[str], advise_slices: bool) -> tuple[list[Path], list[Path]]:
    """Pictures and masks under a folder."""
    files = [file for _, members in folders.walk(root, label_folders) for file in members]
    pictures = [file for file in files if file.name.lower().endswith(PICTURE_SUFFIXES)]
    if not pictures:
        raise _no_pictures(root, files, advise_slices)
    masks = {path for path in pictures if _is_mask(case_id(path, root))}
    if len(masks) == len(pictures):
        raise InputError(f"dataset_dir {root}: expected pictures, found only files named like masks")
    return [path for path in pictures if path not in masks], [path for path in pictures if path in masks]


def _is_mask(case: str) -> bool:
    *parents, name = case.split("/")
    return folders.MASK.fullmatch(name) is not None or any(folders.MASK.fullmatch(f"_{one}") for one in parents)


def _no_pictures(root: Path, files: list[Path], advise_slices: bool) -> InputError:
    suffixes = Counter(
        next((one for one in VOLUME_SUFFIXES if file.name.lower().endswith(one)), file.suffix or "no suffix")
        for file in files
    )
    volumes = bool(suffixes.keys() & set(VOLUME_SUFFIXES)) or any(is_dicom(file) for file in files)
    hint = "; --slice_axis 2 cuts slices from volumes" if volumes and advise_slices else ""
    expected = f"expected pictures ({', '.join(PICTURE_SUFFIXES)})"
    return InputError(f"dataset_dir {root}: {expected}, found {folders.say_suffixes(suffixes)}{hint}")


def _patient(case: str) -> str:
    eye = EYE.fullmatch(case)
    return eye.group(1) if eye else case


def _refuse_channels(channels: Mapping[str, str] | None) -> None:
    if channels:
        raise InputError(
            f"channels: expected None for pictures, found {dict(channels)}; --slice_axis 2 cuts slices from volumes"
        )
