"""Random slices of volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from tools.utils.errors import InputError

MAX_ATTEMPTS = 8  # random slices to find one that is not constant


def check_slice_axis(slice_axis: int | None) -> int | None:
    """Return the axis perpendicular to slices.

    Raises:
        InputError: if it is not None, 0, 1 or 2.
    """
    if slice_axis is not None and (type(slice_axis) is not int or slice_axis not in (0, 1, 2)):
        raise InputError(
            f"slice_axis: expected None, 0, 1 or 2 (sagittal, coronal or axial slices), found {slice_axis!r}"
        )
    return slice_axis


def volume_crop_size(roi_size: Sequence[int], slice_axis: int | None) -> list[int]:
    """Return the size of a crop in a volume; the crop of a slice has size 1 along `slice_axis`."""
    return list(roi_size if slice_axis is None else [*roi_size[:slice_axis], 1, *roi_size[slice_axis:]])


class RandSliced(Randomizable, MapTransform):
    """Select a random slice of a volume, the same for all keys.

    Constant slices (all channels constant) are sampled again, up to `MAX_ATTEMPTS` times. Then the next slice that is
    not constant is used, or the last sampled one if all are constant.

    Args:
        keys: keys of volumes (C, D, H, W) of equal size; the first determines which slices are constant.
        slice_axis: spatial axis perpendicular to the slice: 0, 1 or 2.

    Returns:
        Sample with plain tensors (C, *other two axes in order), which are views of the volumes.

    Raises:
        InputError: if `slice_axis` is not 0, 1 or 2.
    """

    crops_only = True

    def __init__(self, keys: KeysCollection = "image", slice_axis: int = 2) -> None:
        super().__init__(keys)
        if check_slice_axis(slice_axis) is None:
            raise InputError("slice_axis: expected 0, 1 or 2, found None")
        self.slice_axis = slice_axis
        self.index = 0

    def randomize(self, volume: torch.Tensor) -> None:
        """Sample the index of a slice."""
        count = volume.shape[1 + self.slice_axis]
        for _ in range(MAX_ATTEMPTS):
            self.index = int(self.R.randint(count))
            if self._has_content(volume, self.index):
                return
        later = ((self.index + step) % count for step in range(1, count))
        self.index = next((index for index in later if self._has_content(volume, index)), self.index)

    def _has_content(self, volume: torch.Tensor, index: int) -> bool:
        values = volume.select(1 + self.slice_axis, index).flatten(1)
        return bool((values.amax(1) > values.amin(1)).any())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Select a slice of a sample."""
        sample = dict(data)
        for key in self.keys:
            sample[key] = torch.Tensor.as_subclass(sample[key], torch.Tensor)
        self.randomize(sample[self.keys[0]])
        for key in self.keys:
            sample[key] = sample[key].select(1 + self.slice_axis, self.index)
        return sample
