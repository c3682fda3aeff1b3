"""Loading and checking of volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ResampleToMatch

from tools.data.formats.volumes import is_dicom_path, read_volume
from tools.transforms.checks import check_values, sample_name
from tools.transforms.loading import LoadFilesd
from tools.utils import distributed
from tools.utils.errors import InputError

GRID_TOLERANCE = 0.1  # mm at the farthest corner, since software rounds headers differently


class LoadVolumed(LoadFilesd):
    """Load volumes of any format, see `read_volume`.

    Args:
        keys: keys of a path, or of a list of paths, one per channel. A list of DICOM slices is one series. Channels
            with another grid than the first are resampled to it, with linear interpolation and 0 outside their grid.
        max_voxels: largest number of voxels of a file.

    Returns:
        Sample with a `MetaTensor` (C, D, H, W) float32 and the affine to RAS mm for each key.

    Raises:
        InputError: if a file cannot be read, its unit of length is unknown, or the channels of a case do not overlap.
    """

    def load(self, source: str | Path | Sequence[str], sample: Mapping[Hashable, Any]) -> MetaTensor:
        """Load a volume, or the channels of a volume."""
        return _load(source, self.max_voxels)


def _load(source: str | Path | Sequence[str], max_voxels: int) -> MetaTensor:
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
    """Resample a volume to the grid of another; raise `InputError` if they do not overlap."""
    resample = ResampleToMatch(mode="bilinear", padding_mode="zeros", dtype=torch.float32)
    moved = resample(volume, reference)
    if volume.any() and not moved.any():
        raise InputError(f"{path}: expected a volume that overlaps {reference_path}, found no overlap of the grids")
    return moved


@lru_cache
def _note_resampled() -> None:
    """Print a note about resampled channels, once per process."""
    if distributed.rank() == 0:
        print("note: channels with another grid than the first channel of their case are resampled to it")


def grid_difference(one: MetaTensor, other: MetaTensor) -> str | None:
    """Describe the difference of the grids of two volumes (C, D, H, W); None if they are equal."""
    if one.shape[1:] != other.shape[1:]:
        return f"{tuple(other.shape[1:])} and {tuple(one.shape[1:])} voxels"
    extent = torch.tensor([*one.shape[1:], 1], dtype=one.affine.dtype)
    return "different affines" if ((one.affine - other.affine).abs() @ extent).max() > GRID_TOLERANCE else None


class CheckVolumed(MapTransform):
    """Check size, channels and values of volumes, and print a warning for constant channels.

    Args:
        keys: keys of tensors (C, D, H, W).
        channels: expected number of channels; None for any.
        key: configuration key of `channels` for messages, or None.
        smallest: minimum number of voxels per axis; 1 for slices of volumes.

    Raises:
        InputError: if there are not three spatial dimensions of at least `smallest` voxels, the number of channels
            differs, or values are not finite.
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
        """Check a sample, which is returned unchanged."""
        for key in self.keys:
            volume = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(volume.shape)
            if len(shape) != 4 or min(shape[1:]) < self.smallest:
                few = f"; 3D networks require at least {self.smallest} voxels per axis" if len(shape) == 4 else ""
                raise InputError(f"{name}: expected a volume with 3 spatial dimensions, found size {shape[1:]}{few}")
            if self.channels is not None and shape[0] != self.channels:
                hint = (
                    f"; set --{self.key} {shape[0]} if this applies to all scans" if self.key and shape[0] > 1 else ""
                )
                raise InputError(f"{name}: expected {self.channels} channel(s), found {shape[0]}{hint}")
            check_values(name, volume)
        return dict(data)
