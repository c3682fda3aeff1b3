"""From files to checked pictures of one size: reading, refusing what cannot be used, scaling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
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
from tools.data.formats.sources import unreadable
from tools.transforms.checks import check_values, sample_name
from tools.utils.errors import InputError

MAX_ASPECT = 50  # scaled by its shorter edge, a longer strip would take more memory than any photograph


class LoadPictured(MapTransform):
    """Read PNG, JPEG, TIFF and BMP pictures, turned as their EXIF orientation says.

    Colour and palette pictures give red, green and blue of 8 bits, without transparency; pictures of one channel keep
    their values at any depth.

    Args:
        keys: keys whose value is a path, or a list of paths of grey pictures, one per channel.

    Returns:
        The sample with `MetaTensor` (C, H, W) float32 under the keys.

    Raises:
        InputError: a file cannot be read, has too many pixels for Pillow, or several pages; one of several channels is
            in colour or of another size.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the pictures of one sample."""
        sample = dict(data)
        for key in self.keys:
            paths = [str(one) for one in sample[key]] if isinstance(sample[key], list) else [str(sample[key])]
            pixels = [_read(path) for path in paths]
            if len(paths) > 1:
                _check_channels(paths, pixels)
            sample[key] = MetaTensor(torch.from_numpy(np.concatenate(pixels)), meta={"filename_or_obj": paths[0]})
        return sample


def _check_channels(paths: list[str], pixels: list[np.ndarray]) -> None:
    expected = (1, *pixels[0].shape[1:])
    for path, one in zip(paths, pixels, strict=True):
        if one.shape != expected:
            raise InputError(
                f"{path}: expected one channel of {expected[2]} x {expected[1]} pixels beside the others of its case, "
                f"found {one.shape[0]} of {one.shape[2]} x {one.shape[1]}"
            )


def _read(path: str) -> np.ndarray:
    """Pixels (C, H, W) float32 of a file."""
    pixels = np.atleast_3d(_decode(path, _in_plain_mode))
    return np.array(np.moveaxis(pixels, -1, 0), dtype=np.float32, order="C")


def read_colour(path: str) -> np.ndarray:
    """Read red, green and blue (H, W, 3) of 8 bits from a file.

    Raises:
        InputError: a file cannot be read, has too many pixels for Pillow, several pages, or more than 16 bits.
    """
    return _decode(path, partial(_in_colour, path))


def _decode(path: str, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Pixels of a file, turned as its EXIF orientation says, in the mode they are converted to."""
    try:
        with open_image(path) as picture:
            if picture.format == "TIFF" and picture.n_frames > 1:
                raise InputError(f"{path}: expected one picture, found a file of {picture.n_frames} pages")
            picture.load()  # turns TIFF files; what follows turns the others
            ImageOps.exif_transpose(picture, in_place=True)
            return np.array(convert(picture))  # a copy: Pillow's own memory is not to be written to
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: expected a readable picture, found no {', '.join(FORMATS)} content") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise unreadable(path, "picture", error) from error


def _in_colour(path: str, picture: Image.Image) -> Image.Image:
    """A picture in 8-bit colour; of 16 bits the upper 8."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):  # of any range
        raise InputError(f"{path}: expected a picture of 8 or 16 bits, found pixels of 32")
    picture.info.pop("transparency", None)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _in_plain_mode(picture: Image.Image) -> Image.Image:
    """A picture without palette, transparency and bits packed in bytes."""
    picture.info.pop("transparency", None)
    mode = "RGB"
    if is_grey(picture):
        mode = "L" if picture.mode in ("1", "LA") else picture.mode
    return picture if picture.mode == mode else picture.convert(mode)


class CheckPictured(MapTransform):
    """Refuse pictures that cannot be used; say which are constant.

    Args:
        keys: keys of tensors (C, H, W).
        channels: number of channels expected; None takes any.

    Raises:
        InputError: an edge of less than 2 pixels, another number of channels, or pixels that are NaN or infinite.
    """

    def __init__(self, keys: KeysCollection = "image", channels: int | None = None) -> None:
        super().__init__(keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one sample; it is returned unchanged."""
        for key in self.keys:
            picture = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(picture.shape)
            if len(shape) != 3 or min(shape[1:]) < 2:
                raise InputError(f"{name}: expected a picture of at least 2 x 2 pixels, found size {shape[1:]}")
            if self.channels is not None and shape[0] != self.channels:
                kind = {1: " (a grey picture)", 3: " (a colour picture)"}.get(shape[0], "")
                raise InputError(
                    f"{name}: expected {self.channels} channel(s), found {shape[0]}{kind}; "
                    f"say --in_channels {shape[0]} if all pictures have them"
                )
            check_values(name, picture)
        return dict(data)


class ResizePictured(MapTransform):
    """Scale pictures so that their shorter edge has a given length; the aspect is kept but for rounding.

    Bilinear, with an average over the pixels that become one. A picture that fits is returned as it is.

    Args:
        keys: keys of tensors (C, H, W).
        resize_shorter_edge: pixels of the shorter edge.

    Raises:
        InputError: `resize_shorter_edge` is below 1, or a picture is a strip.
    """

    def __init__(self, keys: KeysCollection = "image", resize_shorter_edge: int = 256) -> None:
        super().__init__(keys)
        if resize_shorter_edge < 1:
            raise InputError(f"resize_shorter_edge: expected at least 1 pixel, found {resize_shorter_edge}")
        self.resize_shorter_edge = int(resize_shorter_edge)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the pictures of one sample."""
        sample = dict(data)
        for key in self.keys:
            edges = tuple(sample[key].shape[1:])
            if max(edges) > MAX_ASPECT * min(edges):
                raise InputError(
                    f"{sample_name(sample, key)}: expected edges that differ by a factor of at most {MAX_ASPECT}, "
                    f"found {edges} pixels"
                )
            if min(edges) != self.resize_shorter_edge:
                sample[key] = _resize(sample[key], [round(e * self.resize_shorter_edge / min(edges)) for e in edges])
        return sample


def _resize(picture: torch.Tensor, size: list[int]) -> torch.Tensor:
    pixels = torch.Tensor.as_subclass(picture, torch.Tensor)
    resized = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    # an average lies among its pixels; one rounded beyond them would make a constant channel vary
    resized = resized.clamp(pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True))
    if not isinstance(picture, MetaTensor):
        return resized
    scale = torch.as_tensor(to_affine_nd(len(picture.affine) - 1, scale_affine(pixels.shape[1:], size)))
    return MetaTensor(resized, meta={**picture.meta, "affine": picture.affine @ scale.to(picture.affine)})
