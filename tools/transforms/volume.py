"""Loading and checking volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ResampleToMatch

from tools.data.formats.sources import MAX_VOXELS
from tools.data.formats.volumes import is_dicom_path, read_volume
from tools.transforms.checks import check_values, sample_name
from tools.utils import distributed
from tools.utils.errors import InputError

GRID_TOLERANCE = 0.1  # mm at the far corner; programs round the same header differently


class LoadVolumed(MapTransform):
    """Read volumes of any format, see `read_volume`.

    Args:
        keys: keys whose value is a path or a list of paths, one per channel. A list of DICOM slices is one series.
            Channels on another grid than the first are resampled to it, linearly, with 0 outside of their own.
        max_voxels: largest number of voxels of a file.

    Returns:
        The sample with `MetaTensor` (C, D, H, W) float32 and the affine to RAS mm under the keys.

    Raises:
        InputError: a file cannot be read, its unit of length is unknown, or the channels of a case do not overlap.
    """

    def __init__(self, keys: KeysCollection = "image", max_voxels: int = MAX_VOXELS) -> None:
        super().__init__(keys)
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files of one sample."""
        sample = dict(data)
        for key in self.keys:
            sample[key] = _load(sample[key], self.max_voxels)
        return sample


def _load(source: str | Sequence[str], max_voxels: int) -> MetaTensor:
    if isinstance(source, str | Path):
        return read_volume(source, max_voxels)
    paths = [str(path) for path in source]
    if len(paths) > 1 and all(is_dicom_path(path) and Path(path).is_file() for path in paths):
        return read_volume(paths, max_voxels)
    volumes = [read_volume(path, max_voxels) for path in paths]
    first = volumes[0]
    for number, volume in enumerate(volumes):
        if grid_difference(volume, first):
            volumes[number] = _resample(volume, first, paths[number], paths[0])
            _note_resampled()
    return MetaTensor(torch.cat([volume.as_tensor() for volume in volumes]), meta=first.meta)


def _resample(volume: MetaTensor, reference: MetaTensor, path: str, reference_path: str) -> MetaTensor:
    """A volume on the grid of another; an `InputError` if they do not overlap."""
    resample = ResampleToMatch(mode="bilinear", padding_mode="zeros", dtype=torch.float32)
    moved = resample(volume, reference)
    if volume.any() and not moved.any():
        raise InputError(f"{path}: expected a volume that overlaps {reference_path}, found none of it inside its grid")
    return moved


@lru_cache
def _note_resampled() -> None:
    """Print once in a process that channels are resampled."""
    if distributed.rank() == 0:
        print("note: channels on another grid than the first channel of their case are resampled to it")


def grid_difference(one: MetaTensor, other: MetaTensor) -> str | None:
    """What differs between the grids of two volumes (C, D, H, W), in words, or None."""
    if one.shape[1:] != other.shape[1:]:
        return f"{tuple(other.shape[1:])} and {tuple(one.shape[1:])} voxels"
    extent = torch.tensor([*one.shape[1:], 1], dtype=one.affine.dtype)
    return "different affines" if ((one.affine - other.affine).abs() @ extent).max() > GRID_TOLERANCE else None


class CheckVolumed(MapTransform):
    """Refuse volumes that cannot be used; say which are constant.

    Args:
        keys: keys of tensors (C, D, H, W).
        channels: number of channels expected; None takes any.
        key: of the configuration, to change `channels`; None where there is none.
        smallest: voxels an axis must have; 1 for single slices.

    Raises:
        InputError: not three spatial dimensions of at least `smallest` voxels, another number of channels, or voxels
            that are NaN or infinite.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        channels: int | None = None,
        key: str | None = "in_channels",
        smallest: int = 2,
    ) -> None:
        super().__init__(keys)
        self.channels = channels
        self.key = key
        self.smallest = smallest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one sample; it is returned unchanged."""
        for key in self.keys:
            volume = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(volume.shape)
            if len(shape) != 4 or min(shape[1:]) < self.smallest:
                few = f"; 3D networks need at least {self.smallest} voxels along each" if len(shape) == 4 else ""
                raise InputError(f"{name}: expected a volume with 3 spatial dimensions, found size {shape[1:]}{few}")
            if self.channels is not None and shape[0] != self.channels:
                hint = f"; say --{self.key} {shape[0]} if all scans have them" if self.key and shape[0] > 1 else ""
                raise InputError(f"{name}: expected {self.channels} channel(s), found {shape[0]}{hint}")
            check_values(name, volume)
        return dict(data)
