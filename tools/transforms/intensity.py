"""Where the foreground is, and how intensities are made comparable."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, NormalizeIntensity, ScaleIntensityRange


def foreground(image: torch.Tensor) -> torch.Tensor:
    """Mask of voxels at or above the mean of their channel: head or body, rarely air.

    A constant channel is foreground throughout.

    Args:
        image: (C, *spatial).
    """
    return image >= image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)


class PrepareIntensityd(MapTransform):
    """Z-score over non-zero voxels per channel (MR), or a window of Hounsfield units scaled to [-1, 1] (CT).

    A constant image becomes zero, never nan.

    Args:
        keys: images (C, *spatial).
        hu_window: lower and upper end in HU, or None for the z-score.
    """

    def __init__(self, keys: KeysCollection, hu_window: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        if hu_window is None:
            self.prepare = NormalizeIntensity(nonzero=True, channel_wise=True)
        else:
            low, high = hu_window
            self.prepare = ScaleIntensityRange(low, high, -1.0, 1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with its images prepared."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.prepare(sample[key])
        return sample
