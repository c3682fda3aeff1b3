"""Intensity normalisation and foreground mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, NormalizeIntensity, ScaleIntensityRange

from tools.transforms.window import CheckWindowd


def foreground(image: torch.Tensor) -> torch.Tensor:
    """Return the mask of values at or above the mean of their channel, which rarely includes air.

    All values of a constant channel are foreground.

    Args:
        image: image (C, *spatial).
    """
    space = tuple(range(1, image.ndim))
    highest = image.amax(space, keepdim=True)  # the rounded mean of equal numbers can exceed them
    return image >= image.mean(space, keepdim=True).minimum(highest)


def _z_score(image: torch.Tensor) -> torch.Tensor:
    space = tuple(range(1, image.ndim))
    varied = image.amax(space, keepdim=True) > image.amin(space, keepdim=True)
    return NormalizeIntensity(nonzero=True, channel_wise=True)(image) * varied


class PrepareIntensityd(MapTransform):
    """Normalise intensities: z-score, or intensity window scaled to [-1, 1].

    The z-score over the non-zero values of each channel is for MR and 2D images, the window for CT. Constant channels
    become exactly zero with the z-score, since rounding errors could identify scans.

    Args:
        keys: keys of images (C, *spatial).
        hu_window: lower and upper end in HU, or None for the z-score.
    """

    def __init__(self, keys: KeysCollection, hu_window: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        if hu_window is None:
            self.prepare = _z_score
        else:
            low, high = hu_window
            self.prepare = ScaleIntensityRange(low, high, -1.0, 1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise the images of a sample."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.prepare(sample[key])
        return sample


def build_intensity(
    keys: KeysCollection, hu_window: Sequence[float] | None = None, inference: bool = False
) -> list[MapTransform]:
    """Build the intensity transforms: `CheckWindowd` for a window, and `PrepareIntensityd`.

    Args:
        keys: keys of images (C, *spatial).
        hu_window: lower and upper end in HU, or None for the z-score.
        inference: see `CheckWindowd`.
    """
    check = [] if hu_window is None else [CheckWindowd(keys, hu_window, inference, adjustable=not inference)]
    return [*check, PrepareIntensityd(keys, hu_window)]
