"""Files of 2D images, opened by Pillow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tools.data.formats.sources import MAX_VOXELS, check_declared_size
from tools.utils.inputs import check_readable

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows more, some of which start other programs

# Pillow warns of large images and odd metadata, and reads them; a filter for each file would not be safe in threads
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def open_image(path: str | Path, max_voxels: int = MAX_VOXELS) -> Iterator[Image.Image]:
    """Open an image and read its header.

    Args:
        path: file to open.
        max_voxels: largest number of values over all channels; Pillow itself allows at most 178 million pixels.

    Raises:
        FileNotFoundError: there is nothing.
        InputError: it is no regular file, cannot be opened, or has too many pixels.
    """
    if os.path.exists(path):
        check_readable(path, "picture")
    # given a path, Pillow maps uncompressed TIFF files with the edges they have once turned
    with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
        check_declared_size(path, (*image.size, len(image.getbands())), max_voxels)
        yield image


def is_grey(image: Image.Image) -> bool:
    """Return whether an image has one channel, of any depth, besides transparency."""
    return Image.getmodebase(image.mode) == "L"
