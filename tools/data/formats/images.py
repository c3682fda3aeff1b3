"""Opening of 2D image files with Pillow."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tools.data.formats.sources import MAX_VOXELS, check_declared_size
from tools.utils.inputs import check_readable

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow has more formats, some of which start external programs

# Pillow warns about unusual metadata; a filter per file would not be thread-safe
warnings.filterwarnings("ignore", module=r"PIL\.")


class _PixelLimit:
    """Pillow's `MAX_IMAGE_PIXELS`, a setting of the process, which is removed while any thread has an image open."""

    def __init__(self) -> None:
        self.lock, self.images, self.limit = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Remove the limit until the last image is closed."""
        with self.lock:
            if not self.images:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.images += 1
        try:
            yield
        finally:
            with self.lock:
                self.images -= 1
                if not self.images:
                    Image.MAX_IMAGE_PIXELS = self.limit


_pixel_limit = _PixelLimit()


@contextmanager
def open_image(path: str | Path, max_voxels: int = MAX_VOXELS) -> Iterator[Image.Image]:
    """Open an image and read its header.

    Args:
        path: file to open.
        max_voxels: largest number of values over all channels, instead of Pillow's limit of 179 million pixels.

    Raises:
        FileNotFoundError: if there is no file.
        InputError: if the path is not a regular file, cannot be opened, or has too many pixels.
    """
    if os.path.exists(path):
        check_readable(path, "image")
    # opened as a stream, since Pillow maps uncompressed TIFF files with their size after EXIF rotation
    with _pixel_limit.removed(), open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
        check_declared_size(path, (*image.size, len(image.getbands())), max_voxels)
        yield image


def is_grey(image: Image.Image) -> bool:
    """Return whether an image has one channel of any bit depth, apart from transparency."""
    return Image.getmodebase(image.mode) == "L"
