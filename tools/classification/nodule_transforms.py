"""The transforms of a nodule run: from a crop of a CT to the network's input, and random views of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
from tools.transforms.checks import check_values
from tools.transforms.geometry import PadToRoid
from tools.transforms.hashes import HashVoxelsd
from tools.utils.errors import InputError

KEY = "image"
ARRAY = "voxel"  # of a published crop
MEAN, DEVIATION = 99.0, 77.0  # of the published crops
BRIGHTEST, OVERSHOOT = 255, 10  # what resampling may add at an edge
PLANES = ((0, 1), (0, 2), (1, 2))


def build_nodule_preprocessing(roi_size: Sequence[int], centred: bool = False, inference: bool = False) -> Compose:
    """Build the deterministic transforms of one nodule: read, check, standardise, pad; to be shown whole, crop.

    Args:
        roi_size: edges of the network's input in voxels, equal ones, since training turns it.
        centred: cut the middle out, to validate and test on; training leaves it to `RandNoduleViewd`.
        inference: keep the file's name and make no hashes.

    Raises:
        InputError: edges that differ.
    """
    edges = _cube(roi_size)
    hashes = [] if inference else [HashVoxelsd(KEY)]
    scale = [NormalizeIntensityd(KEY, subtrahend=MEAN, divisor=DEVIATION), PadToRoid(KEY, edges, scalable=False)]
    crop = [CenterSpatialCropd(KEY, edges)] if centred else []
    return Compose([LoadNoduled(KEY), *hashes, *scale, *crop, EnsureTyped(KEY, track_meta=inference)])


def _cube(roi_size: Sequence[int]) -> tuple[int, ...]:
    if len(roi_size) != 3 or len(set(roi_size)) != 1:
        raise InputError(f"roi_size: expected three equal edges, since nodules are turned, found {list(roi_size)}")
    return tuple(int(edge) for edge in roi_size)


class LoadNoduled(MapTransform):
    """Read nodules from npz files: crops of 1 mm voxels, 0 to 255.

    The array is "voxel", or what the sample says under "array" and "index", see `tools.data.find_nodules`. MONAI's
    `NumpyReader` knows no index, advises to unpickle damaged files, and does not say what a file without the array has.

    Args:
        keys: keys whose value is a path.

    Returns:
        The sample with `MetaTensor` (1, D, H, W) float32 under the keys.

    Raises:
        InputError: a file cannot be read, or holds something else than a volume of numbers from 0 to 255.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the nodules of one sample."""
        sample = dict(data)
        for key in self.keys:
            path = str(sample[key])
            sample[key] = MetaTensor(_read(path, sample), meta={"filename_or_obj": path})
        return sample


def _read(path: str, sample: Mapping[Hashable, Any]) -> torch.Tensor:
    name, array = path, str(sample.get("array", ARRAY))
    if "index" in sample:
        name, voxels = f"{path}, {array}[{sample['index']}]", read_item(path, array, int(sample["index"]))
    else:
        voxels = read_array(path, array)
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        raise InputError(f"{name}: expected a volume with 3 dimensions in {array!r}, found size {voxels.shape}")
    volume = torch.from_numpy(voxels.astype("float32"))[None]
    check_values(name, volume)
    low, high = float(volume.min()), float(volume.max())
    if low < -OVERSHOOT or high > BRIGHTEST + OVERSHOOT or 0 < high <= 1:
        raise InputError(f"{name}: expected voxels from 0 to {BRIGHTEST}, found {low:g} to {high:g}")
    return volume


class NoduleView(NamedTuple):
    """How a crop is taken: its middle off the volume's, quarter turns in each plane, and the axis flipped or None."""

    offset: tuple[int, ...]
    turns: tuple[int, ...]
    flip: int | None


class RandNoduleViewd(Randomizable, MapTransform):
    """Cut a cube near the middle, turn it by right angles and mirror it: all drawn at once, nothing interpolated.

    Args:
        keys: keys of volumes (C, D, H, W); all are changed alike.
        roi_size: edges of the cube in voxels.
        shift: largest distance of its middle from the volume's along each axis, as far as there is room.
        flip_chance: chance of being mirrored, along any one axis.
    """

    picks_voxels = True

    def __init__(
        self,
        keys: KeysCollection = "image",
        roi_size: Sequence[int] = (32, 32, 32),
        shift: int = 5,
        flip_chance: float = 0.75,
    ) -> None:
        super().__init__(keys)
        self.roi_size = _cube(roi_size)
        self.shift = shift
        self.flip_chance = flip_chance

    def randomize(self, data: Any = None) -> NoduleView:
        """Draw a view."""
        offset, turns = self.R.randint(-self.shift, self.shift + 1, 3), self.R.randint(4, size=3)
        flipped, axis = self.R.rand() < self.flip_chance, int(self.R.randint(3))
        return NoduleView(tuple(map(int, offset)), tuple(map(int, turns)), axis if flipped else None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Take a view of one sample."""
        sample, view = dict(data), self.randomize()
        for key in self.keys:
            sample[key] = apply_nodule_view(sample[key], view, self.roi_size)
        return sample


def apply_nodule_view(volume: torch.Tensor, view: NoduleView, roi_size: Sequence[int]) -> torch.Tensor:
    """Take a view of a volume (C, D, H, W); without offset, turns and flip it is MONAI's crop of the middle."""
    for axis, (edge, offset) in enumerate(zip(roi_size, view.offset, strict=True), 1):
        size = volume.shape[axis]
        start = size // 2 - edge // 2 + offset
        volume = volume.narrow(axis, min(max(0, start), size - edge), edge)
    for (first, second), turns in zip(PLANES, view.turns, strict=True):
        volume = torch.rot90(volume, turns, (1 + first, 1 + second)) if turns else volume
    return (volume if view.flip is None else volume.flip(1 + view.flip)).contiguous()
