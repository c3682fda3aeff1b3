"""Base class of the transforms that load files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from tools.data.formats.sources import MAX_VOXELS


class LoadFilesd(MapTransform):
    """Replace the path or paths under each key by their content, see `load`.

    Args:
        keys: keys of paths.
        max_voxels: largest number of values of a file, channels included. A file that declares more is not read.
    """

    def __init__(self, keys: KeysCollection = "image", max_voxels: int = MAX_VOXELS) -> None:
        super().__init__(keys)
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the files of a sample."""
        sample = dict(data)
        for key in self.keys:
            sample[key] = self.load(sample[key], data)
        return sample

    @abstractmethod
    def load(self, source: Any, sample: Mapping[Hashable, Any]) -> torch.Tensor:
        """Load what a key names.

        Args:
            source: value of the key, such as a path or a list of paths.
            sample: the whole sample.
        """
