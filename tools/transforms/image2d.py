"""Loading, checking and resizing of 2D images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform
from monai.transforms.utils import scale_affine
from PIL import Image, ImageOps, UnidentifiedImageError

from tools.data.formats.images import FORMATS, is_grey, open_image
from tools.data.formats.sources import MAX_VOXELS
from tools.transforms.checks import check_values, sample_name
from tools.transforms.loading import LoadFilesd
from tools.utils.errors import InputError
from tools.utils.inputs import unreadable_error

MAX_ASPECT = 50  # maximum aspect ratio, which limits the memory after resizing by the shorter edge


class LoadImage2Dd(LoadFilesd):
    """Load PNG, JPEG, TIFF and BMP images with EXIF orientation.

    Colour and palette images are converted to 8-bit RGB without transparency. Values of greyscale images of any bit
    depth are unchanged.

    Args:
        keys: keys of paths, or of lists of paths of greyscale images, one per channel.
        max_voxels: largest number of pixels of a file, times its channels.

    Returns:
        Sample with a `MetaTensor` (C, H, W) float32 for each key.

    Raises:
        InputError: if a file cannot be read, has too many pixels or several pages, or one of several channels is a
            colour image or has another size.
    """

    def load(self, source: str | Path | list[str], sample: Mapping[Hashable, Any]) -> MetaTensor:
        """Load an image, or the channels of an image."""
        paths = [str(path) for path in (source if isinstance(source, list) else [source])]
        pixels = [_read(path, self.max_voxels) for path in paths]
        if len(paths) > 1:
            _check_channels(paths, pixels)
        return MetaTensor(torch.from_numpy(np.concatenate(pixels)), meta={"filename_or_obj": paths[0]})


def _check_channels(paths: list[str], pixels: list[np.ndarray]) -> None:
    expected = (1, *pixels[0].shape[1:])
    for path, one in zip(paths, pixels, strict=True):
        if one.shape != expected:
            raise InputError(
                f"{path}: expected one channel of {expected[2]} x {expected[1]} pixels as in the first file, "
                f"found {one.shape[0]} of {one.shape[2]} x {one.shape[1]}"
            )


def _read(path: str, max_voxels: int) -> np.ndarray:
    """Read pixels (C, H, W) float32."""
    pixels = np.atleast_3d(_decode(path, _to_grey_or_rgb, max_voxels))
    return np.array(np.moveaxis(pixels, -1, 0), dtype=np.float32, order="C")


def read_colour(path: str, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """Read an image as 8-bit RGB (H, W, 3).

    Args:
        path: image file.
        max_voxels: largest number of pixels, times channels.

    Raises:
        InputError: if the file cannot be read, has too many pixels, several pages or more than 16 bits.
    """
    return _decode(path, partial(_to_rgb, path), max_voxels)


def _decode(path: str, convert: Callable[[Image.Image], Image.Image], max_voxels: int) -> np.ndarray:
    """Read pixels with EXIF orientation and convert them."""
    try:
        with open_image(path, max_voxels) as image:
            if image.format == "TIFF" and image.n_frames > 1:
                raise InputError(f"{path}: expected one image, found {image.n_frames} pages")
            image.load()  # applies the orientation of TIFF files
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(convert(image))  # a copy, since Pillow's memory is read-only
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: expected a readable image, found no {', '.join(FORMATS)} content") from error
    except Exception as error:  # decoders raise various errors for damaged files
        raise unreadable_error(path, "image", error) from error


def _to_rgb(path: str, image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB; for 16 bits, the upper 8 are used."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):  # of unknown range
        raise InputError(f"{path}: expected an image of 8 or 16 bits, found 32 bits")
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to greyscale or RGB, without palette, transparency and packed bits."""
    image.info.pop("transparency", None)
    mode = "RGB"
    if is_grey(image):
        mode = "L" if image.mode in ("1", "LA") else image.mode
    return image if image.mode == mode else image.convert(mode)


class CheckImage2Dd(MapTransform):
    """Check size, channels and values of 2D images, and print a warning for constant channels.

    Args:
        keys: keys of tensors (C, H, W).
        channels: expected number of channels; None for any.

    Raises:
        InputError: if an edge is shorter than 2 pixels, the number of channels differs, or values are not finite.
    """

    def __init__(self, keys: KeysCollection = "image", channels: int | None = None) -> None:
        super().__init__(keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check a sample, which is returned unchanged."""
        for key in self.keys:
            image = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(image.shape)
            if len(shape) != 3 or min(shape[1:]) < 2:
                raise InputError(f"{name}: expected an image of at least 2 x 2 pixels, found size {shape[1:]}")
            if self.channels is not None and shape[0] != self.channels:
                kind = {1: " (greyscale)", 3: " (colour)"}.get(shape[0], "")
                raise InputError(
                    f"{name}: expected {self.channels} channel(s), found {shape[0]}{kind}; "
                    f"set --in_channels {shape[0]} if this applies to all images"
                )
            check_values(name, image)
        return dict(data)


class ResizeShorterEdged(MapTransform):
    """Resize images to a length of their shorter edge, with the same aspect ratio up to rounding.

    The interpolation is bilinear with antialiasing. Images of the right size are unchanged.

    Args:
        keys: keys of tensors (C, H, W).
        resize_shorter_edge: length of the shorter edge in pixels.

    Raises:
        InputError: if `resize_shorter_edge` is below 1, or the aspect ratio of an image exceeds `MAX_ASPECT`.
    """

    def __init__(self, keys: KeysCollection = "image", resize_shorter_edge: int = 256) -> None:
        super().__init__(keys)
        if resize_shorter_edge < 1:
            raise InputError(f"resize_shorter_edge: expected at least 1 pixel, found {resize_shorter_edge}")
        self.resize_shorter_edge = int(resize_shorter_edge)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize the images of a sample."""
        sample = dict(data)
        for key in self.keys:
            edges = tuple(sample[key].shape[1:])
            if max(edges) > MAX_ASPECT * min(edges):
                raise InputError(
                    f"{sample_name(sample, key)}: expected an aspect ratio of at most {MAX_ASPECT}, "
                    f"found {edges} pixels"
                )
            if min(edges) != self.resize_shorter_edge:
                sample[key] = _resize(sample[key], [round(e * self.resize_shorter_edge / min(edges)) for e in edges])
        return sample


def _resize(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    pixels = torch.Tensor.as_subclass(image, torch.Tensor)
    resized = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    # rounding errors would make constant channels vary
    resized = resized.clamp(pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True))
    if not isinstance(image, MetaTensor):
        return resized
    scale = torch.as_tensor(to_affine_nd(len(image.affine) - 1, scale_affine(pixels.shape[1:], size)))
    return MetaTensor(resized, meta={**image.meta, "affine": image.affine @ scale.to(image.affine)})
