"""Where the foreground is, and how intensities are made comparable."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, NormalizeIntensity, ScaleIntensityRange

from tools.transforms.window import CheckWindowd


def foreground(image: torch.Tensor) -> torch.Tensor:
    """Mask of voxels or pixels at or above the mean of their channel: head or body, rarely air.

    A constant channel is foreground throughout.

    Args:
        image: (C, *spatial).
    """
    space = tuple(range(1, image.ndim))
    highest = image.amax(space, keepdim=True)  # the mean of equal numbers can be rounded above them
    return image >= image.mean(space, keepdim=True).minimum(highest)


def _scores(image: torch.Tensor) -> torch.Tensor:
    space = tuple(range(1, image.ndim))
    varied = image.amax(space, keepdim=True) > image.amin(space, keepdim=True)
    return NormalizeIntensity(nonzero=True, channel_wise=True)(image) * varied


class PrepareIntensityd(MapTransform):
    """Z-score over non-zero voxels per channel (MR, pictures), or a window of Hounsfield units scaled to [-1, 1] (CT).

    A constant channel becomes zero under the z-score, exactly: a residue of rounding would tell scans apart.

    Args:
        keys: images (C, *spatial).
        hu_window: lower and upper end in HU, or None for the z-score.
    """

    def __init__(self, keys: KeysCollection, hu_window: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        if hu_window is None:
            self.prepare = _scores
        else:
            low, high = hu_window
            self.prepare = ScaleIntensityRange(low, high, -1.0, 1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with its images prepared."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.prepare(sample[key])
        return sample


def build_intensity(
    keys: KeysCollection, hu_window: Sequence[float] | None = None, inference: bool = False
) -> list[MapTransform]:
    """Build the transforms of intensities: the check of a window, if there is one, and `PrepareIntensityd`.

    Args:
        keys: images (C, *spatial).
        hu_window: lower and upper end in HU, or None for the z-score.
        inference: see `CheckWindowd`.
    """
    check = [] if hu_window is None else [CheckWindowd(keys, hu_window, inference, adjustable=not inference)]
    return [*check, PrepareIntensityd(keys, hu_window)]
