"""Preprocessing of labelled volumes for the linear probe: random crops with sampled labelled voxels."""

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
MAX_LABELS = 256  # a volume with more values is no label map


class ResampleLabelToImaged(MapTransform):
    """Resample label maps to the grid of the preprocessed image by nearest neighbour, -1 outside of the map.

    Args:
        keys: keys of label maps (1, D, H, W).

    Raises:
        InputError: if a label map has several channels, another grid than the image file, or values that are not
            integers from 0.
    """

    def __init__(self, keys: str = LABEL) -> None:
        super().__init__(keys)
        self.resample = SpatialResample(mode="nearest", padding_mode="zeros", dtype=torch.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the label maps of a sample."""
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
            resampled = self.resample(label + 1, dst_affine=image.affine, spatial_size=image.shape[1:])
            sample[key] = resampled.as_tensor().long() - 1
        return sample


class CropAndSampleVoxelsd(MapTransform):
    """Random crop around a foreground voxel, with the same number of voxels sampled per label.

    The crops of a case, numbered by the entry "crop", cycle through the foreground labels, so that small structures
    are included. The foreground voxel has a random position in the crop, because an encoder can infer the distance to
    the border from its padding. All random numbers depend on the seed, the case and the number of the crop only.

    Args:
        roi_size: crop size in voxels.
        slice_axis: spatial axis along which a 2D encoder processes volumes slice by slice.
        voxels: maximum number of voxels per label.
        seed: seed of all random numbers.

    Returns:
        A sample with "image" (C, *roi_size), "points" (N, dims) in the coordinates of
        `torch.nn.functional.grid_sample` (``align_corners=False``), and "label" (N,).
    """

    def __init__(self, roi_size: Sequence[int], slice_axis: int | None, voxels: int, seed: int) -> None:
        super().__init__(IMAGE)
        self.edges = tuple(volume_crop_size(roi_size, slice_axis))
        self.slice_axis = slice_axis
        self.voxels = voxels
        self.seed = seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the image of a sample and sample labelled voxels."""
        image, labels = torch.Tensor.as_subclass(data[IMAGE], torch.Tensor), data[LABEL][0]
        number, case = data.get("crop", 0), data["case"].encode(errors="surrogateescape")
        generator = torch.Generator().manual_seed(stable_seed(self.seed, number, *case))
        crop = self._crop(labels, stable_seed(*case) + number, generator)
        image, labels = image[(slice(None), *crop)].clone(), labels[crop]
        voxels = torch.cat(
            [
                found[torch.randperm(len(found), generator=generator)[: self.voxels]]
                for value in torch.unique(labels[labels >= 0])
                for found in [(labels == value).nonzero()]
            ]
        )
        points = (2 * voxels + 1) / torch.tensor(self.edges) - 1
        axes = [axis for axis in range(3) if axis != self.slice_axis]
        if self.slice_axis is not None:
            image = image.squeeze(1 + self.slice_axis)
        points = points[:, axes[::-1]]  # grid_sample's order of axes
        return {"case": data["case"], IMAGE: image, "points": points, LABEL: labels[tuple(voxels.T)]}

    def _crop(self, labels: torch.Tensor, index: int, generator: torch.Generator) -> tuple[slice, ...]:
        values = torch.unique(labels[labels >= 0])
        values = values[values > 0] if (values > 0).any() else values
        found = (labels == values[index % len(values)]).nonzero()
        voxel = found[torch.randint(len(found), (1,), generator=generator)][0].tolist()
        offsets = [int(torch.randint(edge, (1,), generator=generator)) for edge in self.edges]
        starts = [
            min(max(position - offset, 0), size - edge)
            for position, offset, edge, size in zip(voxel, offsets, self.edges, labels.shape, strict=True)
        ]
        return tuple(slice(start, start + edge) for start, edge in zip(starts, self.edges, strict=True))


def build_probe_preprocessing(
    preprocessing: Compose, roi_size: Sequence[int], slice_axis: int | None = None, voxels: int = 64, seed: int = 0
) -> Compose:
    """Build the transforms of labelled cases from the preprocessing of a run.

    Args:
        preprocessing: preprocessing of the run, from `build_preprocessing`; its last transform, which removes the
            affine, is omitted.
        roi_size: crop size, at most the crop size of the run; images (2D without a `slice_axis`) are not cropped.
        slice_axis: as for the run.
        voxels: maximum number of voxels per label and crop.
        seed: seed of all random numbers.
    """
    if len(roi_size) == 2 and slice_axis is None:
        return preprocessing
    spatial = preprocessing.transforms[:-1]
    return Compose(
        [
            *spatial,
            LoadVolumed(LABEL),
            ResampleLabelToImaged(LABEL),
            CropAndSampleVoxelsd(roi_size, slice_axis, voxels, seed),
        ]
    )
