"""Stacks of slices as a network takes them: one window of HU, one mean, squares of one size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from tools.utils.errors import InputError

WINDOW = (-1024.0, 1050.0)  # HU; one for all organs
MEAN, DEVIATION = 123.675, 58.395  # of ImageNet's red channel from 0 to 255, for every slice


class FitStackd(MapTransform):
    """Standardise stacks and scale them to squares, see `fit_stacks`.

    Args:
        keys: keys of tensors (1, slices, H, W) in HU, of one size.
        size: edge of the square in pixels.
        window: HU that become black and white.

    Returns:
        The sample with (1, slices, size, size) under the keys, and "scale": network pixels per original pixel.

    Raises:
        InputError: `size` is not a positive whole number, or `window` is none.
    """

    def __init__(self, keys: KeysCollection = "image", size: int = 512, window: Sequence[float] = WINDOW) -> None:
        super().__init__(keys)
        _check_fit(size, window)
        self.size = size
        self.window = tuple(map(float, window))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fit the stacks of one sample."""
        sample = dict(data)
        for key in self.keys:
            stack = sample[key]
            fitted, scale = fit_stacks(torch.Tensor.as_subclass(stack, torch.Tensor), self.size, self.window)
            if isinstance(stack, MetaTensor):
                change = torch.diag(torch.tensor([1, 1 / scale, 1 / scale, 1], dtype=stack.affine.dtype))
                change[1:3, 3] = (1 / scale - 1) / 2  # scaled about the corner, not the middle of a pixel
                fitted = MetaTensor(fitted, meta={**stack.meta, "affine": stack.affine @ change})
            sample[key], sample["scale"] = fitted, scale
        return sample


def fit_stacks(stacks: torch.Tensor, size: int = 512, window: Sequence[float] = WINDOW) -> tuple[torch.Tensor, float]:
    """Clip HU to a window, standardise, scale the longest edge to `size` and pad to a square.

    Bilinear, with an average over pixels that become one; what fits is not resampled. Both axes are scaled by the very
    same number about the picture's corner, so boxes follow by a multiplication. The padding, right and below, is the
    window's lower end.

    Args:
        stacks: (..., H, W) in HU, floating.
        size: edge of the square in pixels.
        window: HU that become 0 and 255, before the mean is subtracted.

    Returns:
        (..., size, size), and the network's pixels per original pixel.

    Raises:
        InputError: `size` is not a positive whole number, or `window` is none.
    """
    _check_fit(size, window)
    low, high = window
    *leading, height, width = stacks.shape
    scale = size / max(height, width)
    rows, columns = (max(1, round(edge * scale)) for edge in (height, width))
    pixels = stacks.clamp(low, high).sub_(low).div_(high - low).mul_(255).sub_(MEAN).div_(DEVIATION)
    if scale != 1:  # `F.interpolate` takes a size or a scale; a size rounded would scale the axes differently
        resize = torch.ops.aten._upsample_bilinear2d_aa if scale < 1 else torch.ops.aten.upsample_bilinear2d
        pixels = resize(pixels.reshape(1, -1, height, width), (rows, columns), False, scale, scale)
    pixels = pixels.reshape(*leading, rows, columns)
    if rows == columns:
        return pixels, scale
    fitted = pixels.new_full((*leading, size, size), -MEAN / DEVIATION)
    fitted[..., :rows, :columns] = pixels
    return fitted, scale


def _check_fit(size: int, window: Sequence[float]) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"image_size: expected a positive whole number of pixels, found {size!r}")
    if len(window) != 2 or not all(map(math.isfinite, window)) or not window[0] < window[1]:
        raise InputError(f"window: expected two increasing HU, found {window}")
