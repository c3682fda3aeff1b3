"""Labelled cases for a linear probe, prepared by the very transforms of the run: a crop and labelled voxels in it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, SpatialResample

from tools.data.sampler import stable_seed
from tools.transforms.checks import sample_name
from tools.transforms.slices import volume_crop_size
from tools.transforms.volume import LoadVolumed, grid_difference
from tools.utils.errors import InputError

IMAGE, LABEL = "image", "label"
MAX_LABELS = 256  # more values are those of an image, not of a label map


class LabelOnGridd(MapTransform):
    """Lay a label map, as read, on the grid that preparation gave its image: by nearest voxel, -1 outside of the map.

    Args:
        keys: label maps (1, D, H, W).

    Raises:
        InputError: several channels, another grid than the image's file, or values that are no whole numbers.
    """

    def __init__(self, keys: str = LABEL) -> None:
        super().__init__(keys)
        self.resample = SpatialResample(mode="nearest", padding_mode="zeros", dtype=torch.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Lay one sample's label maps."""
        sample = dict(data)
        image = sample[IMAGE]
        stored = torch.empty(1, *[int(edge) for edge in image.meta["spatial_shape"]], device="meta")
        file = MetaTensor(stored, affine=torch.as_tensor(image.meta["original_affine"]))
        for key in self.keys:
            label, name = sample[key], sample_name(sample, key)
            if len(label) != 1:
                raise InputError(f"{name}: expected a label map of one channel, found {len(label)}")
            if different := grid_difference(label, file):
                raise InputError(
                    f"{name}: expected the grid of its image {image.meta['filename_or_obj']}, found {different}"
                )
            values = torch.unique(label.as_tensor())
            if len(values) > MAX_LABELS or (values != values.round()).any() or values.min() < 0:
                raise InputError(
                    f"{name}: expected a label map of whole numbers from 0, found {len(values)} values from "
                    f"{values[0]:g} to {values[-1]:g}"
                )
            laid = self.resample(label + 1, dst_affine=image.affine, spatial_size=image.shape[1:])
            sample[key] = laid.as_tensor().long() - 1
        return sample


class TakeVoxelsd(MapTransform):
    """Cut a crop that holds a certain voxel, and choose as many voxels of every label in it.

    The voxel is one of a label other than 0, so that small structures are seen; the crops of a case, numbered under
    "crop", take turns in these. It lies anywhere in the crop, since an encoder knows by its padding where the middle
    is. All draws follow from the seed, the case and that number.

    Args:
        roi_size: edges of the crop.
        slice_axis: axis of volumes that the slices of a 2D encoder lie across.
        voxels: voxels of each label at most.
        seed: seed of all draws.

    Returns:
        A sample with "image" (C, *roi_size), "points" (N, dims) in it as `torch.nn.functional.grid_sample` counts
        (without aligned corners), and "label" (N,).
    """

    def __init__(self, roi_size: Sequence[int], slice_axis: int | None, voxels: int, seed: int) -> None:
        super().__init__(IMAGE)
        self.edges = tuple(volume_crop_size(roi_size, slice_axis))
        self.slice_axis = slice_axis
        self.voxels = voxels
        self.seed = seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Take the voxels of one sample."""
        image, labels = torch.Tensor.as_subclass(data[IMAGE], torch.Tensor), data[LABEL][0]
        number, case = data.get("crop", 0), data["case"].encode(errors="surrogateescape")
        generator = torch.Generator().manual_seed(stable_seed(self.seed, number, *case))
        crop = self._crop(labels, stable_seed(*case) + number, generator)
        image, labels = image[(slice(None), *crop)].clone(), labels[crop]
        places = torch.cat(
            [
                found[torch.randperm(len(found), generator=generator)[: self.voxels]]
                for value in torch.unique(labels[labels >= 0])
                for found in [(labels == value).nonzero()]
            ]
        )
        points = (2 * places + 1) / torch.tensor(self.edges) - 1
        kept = [axis for axis in range(3) if axis != self.slice_axis]
        if self.slice_axis is not None:
            image = image.squeeze(1 + self.slice_axis)
        chosen = {"points": points[:, kept[::-1]], LABEL: labels[tuple(places.T)]}  # the last axis comes first there
        return {"case": data["case"], IMAGE: image, **chosen}

    def _crop(self, labels: torch.Tensor, turn: int, generator: torch.Generator) -> tuple[slice, ...]:
        values = torch.unique(labels[labels >= 0])
        values = values[values > 0] if (values > 0).any() else values
        found = (labels == values[turn % len(values)]).nonzero()
        voxel = found[torch.randint(len(found), (1,), generator=generator)][0].tolist()
        befores = [int(torch.randint(edge, (1,), generator=generator)) for edge in self.edges]
        firsts = [
            min(max(place - before, 0), size - edge)
            for place, before, edge, size in zip(voxel, befores, self.edges, labels.shape, strict=True)
        ]
        return tuple(slice(first, first + edge) for first, edge in zip(firsts, self.edges, strict=True))


def build_probe_preprocessing(
    preprocessing: Compose, roi_size: Sequence[int], slice_axis: int | None = None, voxels: int = 64, seed: int = 0
) -> Compose:
    """Build the transforms of a labelled case from those of a run.

    Args:
        preprocessing: the run's, from `build_preprocessing`; its last transform, which forgets where the image lay,
            waits until the labels are laid on it.
        roi_size: edges of the crop, no larger than the run's; two without a `slice_axis` mean pictures, which are
            taken whole.
        slice_axis: as for the run.
        voxels: voxels of each label taken from a crop at most.
        seed: seed of all draws.
    """
    if len(roi_size) == 2 and slice_axis is None:
        return preprocessing
    prepare = preprocessing.transforms[:-1]
    return Compose([*prepare, LoadVolumed(LABEL), LabelOnGridd(LABEL), TakeVoxelsd(roi_size, slice_axis, voxels, seed)])
