"""Intensity normalisation and resizing of slice stacks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from tools.utils.errors import InputError

WINDOW = (-1024.0, 1050.0)  # intensity window in HU for all organs
MEAN, STD = 123.675, 58.395  # statistics of ImageNet's red channel (0 to 255), used for every slice


class ResizeStackd(MapTransform):
    """Normalise stacks and resize them to squares, see `resize_stacks`.

    Args:
        keys: keys of tensors (1, slices, H, W) in HU with equal sizes.
        size: size of the square in pixels.
        window: lower and upper end of the intensity window in HU.

    Returns:
        The sample with (1, slices, size, size) under the keys, and "scale", output pixels per input pixel.

    Raises:
        InputError: if `size` is not a positive integer, or `window` is not increasing.
    """

    def __init__(self, keys: KeysCollection = "image", size: int = 512, window: Sequence[float] = WINDOW) -> None:
        super().__init__(keys)
        _check_arguments(size, window)
        self.size = size
        self.window = tuple(map(float, window))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize the stacks of one sample."""
        sample = dict(data)
        for key in self.keys:
            stack = sample[key]
            resized, scale = resize_stacks(torch.Tensor.as_subclass(stack, torch.Tensor), self.size, self.window)
            if isinstance(stack, MetaTensor):
                change = torch.diag(torch.tensor([1, 1 / scale, 1 / scale, 1], dtype=stack.affine.dtype))
                change[1:3, 3] = (1 / scale - 1) / 2  # scaled about the image corner, not a pixel centre
                resized = MetaTensor(resized, meta={**stack.meta, "affine": stack.affine @ change})
            sample[key], sample["scale"] = resized, scale
        return sample


def resize_stacks(
    stacks: torch.Tensor, size: int = 512, window: Sequence[float] = WINDOW
) -> tuple[torch.Tensor, float]:
    """Clip to a window, normalise, resize the longest edge to `size` and pad to a square.

    Resizing is bilinear with antialiasing, with the same scale for both axes about the image corner, so that boxes are
    scaled by a multiplication. Stacks of the right size are not resampled. The padding, right and below, is the lower
    end of the window.

    Args:
        stacks: floating-point stacks (..., H, W) in HU.
        size: size of the square in pixels.
        window: lower and upper end of the intensity window in HU.

    Returns:
        Stacks (..., size, size), and output pixels per input pixel.

    Raises:
        InputError: if `size` is not a positive integer, or `window` is not increasing.
    """
    _check_arguments(size, window)
    low, high = window
    *leading, height, width = stacks.shape
    scale = size / max(height, width)
    rows, columns = (max(1, round(edge * scale)) for edge in (height, width))
    pixels = stacks.clamp(low, high).sub_(low).div_(high - low).mul_(255).sub_(MEAN).div_(STD)
    if scale != 1:  # `F.interpolate` accepts a size or a scale, not both
        resize = torch.ops.aten._upsample_bilinear2d_aa if scale < 1 else torch.ops.aten.upsample_bilinear2d
        pixels = resize(pixels.reshape(1, -1, height, width), (rows, columns), False, scale, scale)
    pixels = pixels.reshape(*leading, rows, columns)
    if rows == columns:
        return pixels, scale
    padded = pixels.new_full((*leading, size, size), -MEAN / STD)
    padded[..., :rows, :columns] = pixels
    return padded, scale


def _check_arguments(size: int, window: Sequence[float]) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"image_size: expected a positive integer number of pixels, found {size!r}")
    if len(window) != 2 or not all(map(math.isfinite, window)) or not window[0] < window[1]:
        raise InputError(f"window: expected two increasing values in HU, found {window}")
