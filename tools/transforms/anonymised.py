"""Masks of anonymised voxels, such as removed faces, which a reconstruction loss excludes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from tools.data.formats.sources import MAX_VOXELS
from tools.data.formats.volumes import read_volume
from tools.transforms.volume import grid_difference
from tools.utils.errors import InputError

#: key of the path of the mask in a case, and of the loaded mask
PATH, MASK = "anon_mask", "anonymised"


class LoadAnonymisedd(MapTransform):
    """Load the mask of anonymised voxels of a volume; all voxels above 0 are anonymised.

    Args:
        keys: key of the loaded volume.
        max_voxels: largest number of voxels of a file.

    Returns:
        Sample with the mask (1, D, H, W), float32, under ``anonymised``; 0 everywhere for a case without ``anon_mask``.

    Raises:
        InputError: if the mask cannot be read, or has another grid than the volume.
    """

    def __init__(self, keys: str = "image", max_voxels: int = MAX_VOXELS) -> None:
        super().__init__(keys)
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the mask of a sample."""
        sample = dict(data)
        image, path = sample[self.keys[0]], sample.get(PATH)
        if path is None:
            return sample | {MASK: MetaTensor(torch.zeros_like(image.as_tensor()[:1]), meta=image.meta)}
        mask = read_volume(path, self.max_voxels)
        if len(mask) != 1 or (difference := grid_difference(mask, image)):
            found = f"{len(mask)} channels" if len(mask) != 1 else difference
            raise InputError(f"{path}: expected a mask with one channel on the grid of its scan, found {found}")
        return sample | {MASK: (mask > 0).to(mask.dtype)}
