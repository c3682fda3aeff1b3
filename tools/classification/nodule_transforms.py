"""Lung nodule transforms: loading of npz crops, preprocessing and random augmentation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    EnsureTyped,
    MapTransform,
    NormalizeIntensityd,
    Randomizable,
)

from tools.data.formats.npz import read_array, read_item
from tools.data.formats.sources import MAX_VOXELS
from tools.transforms.checks import check_values
from tools.transforms.geometry import PadToRoid
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.loading import LoadFilesd
from tools.utils.errors import InputError

KEY = "image"
ARRAY = "voxel"  # array name in the published LIDC-IDRI crops
MEAN, STD = 99.0, 77.0  # intensity statistics of these crops
MAX_VALUE, OVERSHOOT = 255, 10  # interpolation may exceed the range by the overshoot
PLANES = ((0, 1), (0, 2), (1, 2))


def build_nodule_preprocessing(
    roi_size: Sequence[int], center_crop: bool = False, inference: bool = False, max_voxels: int = MAX_VOXELS
) -> Compose:
    """Build the deterministic transforms of a nodule: load, check, normalise, pad, and optionally crop.

    Args:
        roi_size: input size of the network in voxels, a cube, since training rotates it.
        center_crop: whether to crop the centre, for validation and test; in training `RandNoduled` crops.
        inference: whether to keep the metadata and skip the hashes.
        max_voxels: largest number of values of an array.

    Raises:
        InputError: if `roi_size` is not a cube.
    """
    edges = _cube(roi_size)
    hashes = [] if inference else [HashVoxelsd(KEY)]
    scale = [NormalizeIntensityd(KEY, subtrahend=MEAN, divisor=STD), PadToRoid(KEY, edges, scalable=False)]
    crop = [CenterSpatialCropd(KEY, edges)] if center_crop else []
    return Compose([LoadNoduled(KEY, max_voxels), *hashes, *scale, *crop, EnsureTyped(KEY, track_meta=inference)])


def _cube(roi_size: Sequence[int]) -> tuple[int, ...]:
    if len(roi_size) != 3 or len(set(roi_size)) != 1:
        raise InputError(f"roi_size: expected three equal edges, since nodules are rotated, found {list(roi_size)}")
    return tuple(int(edge) for edge in roi_size)


class LoadNoduled(LoadFilesd):
    """Load nodule crops from npz files, with 1 mm voxels and values from 0 to 255.

    The array is "voxel" unless the sample has the keys "array" and "index", see `tools.data.find_nodules`. MONAI's
    `NumpyReader` does not support an index, and its errors do not name the arrays of the file.

    Args:
        keys: keys whose value is a path.
        max_voxels: largest number of values of an array.

    Returns:
        The sample with `MetaTensor` (1, D, H, W) float32 under the keys.

    Raises:
        InputError: if a file cannot be read, or is not a volume of values from 0 to 255.
    """

    def load(self, source: str | Path, sample: Mapping[Hashable, Any]) -> MetaTensor:
        """Load a nodule."""
        path = str(source)
        return MetaTensor(_read(path, sample, self.max_voxels), meta={"filename_or_obj": path})


def _read(path: str, sample: Mapping[Hashable, Any], max_voxels: int) -> torch.Tensor:
    name, array = path, str(sample.get("array", ARRAY))
    if "index" in sample:
        name = f"{path}, {array}[{sample['index']}]"
        voxels = read_item(path, array, int(sample["index"]), max_voxels)
    else:
        voxels = read_array(path, array, max_voxels)
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        raise InputError(f"{name}: expected a volume with 3 dimensions in {array!r}, found size {voxels.shape}")
    volume = torch.from_numpy(voxels.astype("float32"))[None]
    check_values(name, volume)
    low, high = float(volume.min()), float(volume.max())
    if low < -OVERSHOOT or high > MAX_VALUE + OVERSHOOT or 0 < high <= 1:
        raise InputError(f"{name}: expected voxels from 0 to {MAX_VALUE}, found {low:g} to {high:g}")
    return volume


class NoduleParams(NamedTuple):
    """Parameters of an augmentation: crop offset in voxels, 90 degree rotations per plane, and flipped axis or None."""

    offset: tuple[int, ...]
    rotations: tuple[int, ...]
    flip: int | None


class RandNoduled(Randomizable, MapTransform):
    """Randomly crop a cube near the centre, rotate it by multiples of 90 degrees and flip it, without interpolation.

    Args:
        keys: keys of volumes (C, D, H, W); all keys get the same augmentation.
        roi_size: size of the cube in voxels.
        max_shift: maximum offset of the crop from the centre along each axis, in voxels, limited by the volume.
        flip_prob: probability of a flip along one random axis.
    """

    crops_only = True

    def __init__(
        self,
        keys: KeysCollection = "image",
        roi_size: Sequence[int] = (32, 32, 32),
        max_shift: int = 5,
        flip_prob: float = 0.75,
    ) -> None:
        super().__init__(keys)
        self.roi_size = _cube(roi_size)
        self.max_shift = max_shift
        self.flip_prob = flip_prob

    def randomize(self, data: Any = None) -> NoduleParams:
        """Draw the parameters of an augmentation."""
        offset, rotations = self.R.randint(-self.max_shift, self.max_shift + 1, 3), self.R.randint(4, size=3)
        flipped, axis = self.R.rand() < self.flip_prob, int(self.R.randint(3))
        return NoduleParams(tuple(map(int, offset)), tuple(map(int, rotations)), axis if flipped else None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Augment one sample."""
        sample, params = dict(data), self.randomize()
        for key in self.keys:
            sample[key] = augment_nodule(sample[key], params, self.roi_size)
        return sample


def augment_nodule(volume: torch.Tensor, params: NoduleParams, roi_size: Sequence[int]) -> torch.Tensor:
    """Crop, rotate and flip a volume (C, D, H, W); the default parameters give MONAI's `CenterSpatialCrop`."""
    for axis, (edge, offset) in enumerate(zip(roi_size, params.offset, strict=True), 1):
        size = volume.shape[axis]
        start = size // 2 - edge // 2 + offset
        volume = volume.narrow(axis, min(max(0, start), size - edge), edge)
    for (first, second), count in zip(PLANES, params.rotations, strict=True):
        volume = torch.rot90(volume, count, (1 + first, 1 + second)) if count else volume
    return (volume if params.flip is None else volume.flip(1 + params.flip)).contiguous()
