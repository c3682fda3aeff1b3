"""Preprocessing pipelines of volumes, slices of volumes and 2D images, and random crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import (
    CastToTyped,
    Compose,
    CropForegroundd,
    EnsureTyped,
    MapTransform,
    Orientationd,
    Randomizable,
    RandSpatialCropd,
)

from tools.data.formats.sources import MAX_VOXELS
from tools.transforms.anonymised import MASK, LoadAnonymisedd
from tools.transforms.geometry import CheckedSpacingd, PadToRoid, check_spacing
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd, ResizeShorterEdged
from tools.transforms.intensity import build_intensity, foreground
from tools.transforms.slices import RandSliced, check_slice_axis, volume_crop_size
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.errors import InputError

KEY = "image"


def build_preprocessing(
    roi_size: Sequence[int],
    channels: int,
    spacing: float | Sequence[float] | None = None,
    hu_window: Sequence[float] | None = None,
    slice_axis: int | None = None,
    resize_shorter_edge: int | None = None,
    inference: bool = False,
    isotropic: bool = False,
    max_voxels: int = MAX_VOXELS,
    anonymised: bool = False,
) -> Compose:
    """Build the deterministic transforms: load, check, resample, crop to the foreground, normalise and pad.

    A `roi_size` of two numbers is for 2D images, or with `slice_axis` for slices of volumes.

    Args:
        roi_size: size of the random crop, or of the patch for inference, in voxels or pixels.
        channels: number of channels of all images.
        spacing: target spacing of volumes in mm: one number, or one per axis in RAS orientation.
        hu_window: lower and upper end in HU; None for the z-score.
        slice_axis: axis perpendicular to the slices in RAS orientation (0, 1 or 2); None for 2D images and 3D.
        resize_shorter_edge: length of the shorter edge of 2D images in pixels; None for no resizing.
        inference: whether to track metadata and to compute no hashes.
        isotropic: whether the spacing must be isotropic, for tasks that rotate images by right angles.
        max_voxels: largest number of voxels of a file, and of an image after resampling.
        anonymised: whether to add the mask of anonymised voxels of volumes, uint8, see `LoadAnonymisedd`.

    Raises:
        InputError: if arguments contradict each other.
    """
    if isotropic and not _is_2d(roi_size, slice_axis):
        _check_isotropic(spacing, slice_axis)
    hashes = [] if inference else [HashVoxelsd(KEY)]
    if _is_2d(roi_size, slice_axis):
        first = _image_transforms(channels, hu_window, resize_shorter_edge, hashes, max_voxels)
    else:
        smallest = 2 if slice_axis is None else 1
        first = _volume_transforms(channels, spacing, hashes, smallest, max_voxels, anonymised)
    keys = [KEY, MASK] if anonymised else [KEY]
    pad = PadToRoid(keys, volume_crop_size(roi_size, slice_axis), key="patch_size" if inference else "roi_size")
    plain = EnsureTyped(keys) if inference else EnsureTyped(keys, track_meta=False)
    compact = [CastToTyped(MASK, dtype=torch.uint8)] if anonymised else []
    scale = build_intensity(KEY, hu_window, inference)
    return Compose([*first, *scale, pad, plain, *compact])


def build_random_crop(roi_size: Sequence[int], slice_axis: int | None = None) -> Randomizable:
    """Build the random crop of a preprocessed case; with `slice_axis`, of a random slice.

    Raises:
        InputError: if arguments contradict each other.
    """
    _is_2d(roi_size, slice_axis)
    crop = RandSpatialCropd([KEY, MASK], roi_size=roi_size, random_size=False, allow_missing_keys=True)
    return crop if slice_axis is None else Compose([RandSliced(KEY, slice_axis), crop])


def build_reading(channels: int, max_voxels: int = MAX_VOXELS, smallest: int = 2) -> Compose:
    """Build the first transforms of volumes: load, check and orient.

    Args:
        channels: number of channels of all volumes.
        max_voxels: largest number of voxels of a file.
        smallest: minimum number of voxels per axis; 1 for slices of volumes.
    """
    check = CheckVolumed(KEY, channels, smallest=smallest)
    return Compose([LoadVolumed(KEY, max_voxels), check, Orientationd(KEY, axcodes="RAS", labels=None)])


def _volume_transforms(
    channels: int,
    spacing: float | Sequence[float] | None,
    hashes: list[HashVoxelsd],
    smallest: int,
    max_voxels: int,
    anonymised: bool,
) -> list[MapTransform]:
    """Build the transforms of volumes: load, check, orient, hash, resample, crop to the foreground."""
    if spacing is None:
        raise InputError("spacing: expected a spacing in mm for volumes, found None")
    *load, orient = build_reading(channels, max_voxels, smallest).transforms
    keys, modes = [KEY], ["bilinear"]
    if anonymised:
        keys, modes = [KEY, MASK], ["bilinear", "nearest"]
        load += [LoadAnonymisedd(KEY, max_voxels)]
        orient = Orientationd(keys, axcodes="RAS", labels=None)
    resample = CheckedSpacingd(keys, check_spacing(spacing), max_voxels, mode=modes)
    return [*load, orient, *hashes, resample, _crop_to_foreground(keys)]


def _check_isotropic(spacing: float | Sequence[float] | None, slice_axis: int | None) -> None:
    edges = {edge for axis, edge in enumerate(check_spacing(spacing)) if axis != slice_axis}
    if len(edges) > 1:
        raise InputError(
            f"spacing: expected an isotropic spacing, since images are rotated by right angles, found {list(spacing)}"
        )


def _image_transforms(
    channels: int,
    hu_window: Sequence[float] | None,
    resize_shorter_edge: int | None,
    hashes: list[HashVoxelsd],
    max_voxels: int,
) -> list[MapTransform]:
    """Build the transforms of 2D images, which are resized after the crop, since they have no spacing in mm."""
    if hu_window is not None:
        raise InputError(f"hu_window: expected None for 2D images, found {hu_window}; it is for CT volumes")
    resize = [] if resize_shorter_edge is None else [ResizeShorterEdged(KEY, resize_shorter_edge)]
    return [LoadImage2Dd(KEY, max_voxels), CheckImage2Dd(KEY, channels), *hashes, _crop_to_foreground(), *resize]


def _crop_to_foreground(keys: Sequence[str] = (KEY,)) -> CropForegroundd:
    return CropForegroundd(keys, source_key=KEY, select_fn=foreground, margin=4, allow_smaller=True)


def _is_2d(roi_size: Sequence[int], slice_axis: int | None) -> bool:
    """Check `roi_size` and `slice_axis`; return whether they are for 2D images."""
    if len(roi_size) not in (2, 3):
        raise InputError(f"roi_size: expected 2 or 3 numbers, found {list(roi_size)}")
    if check_slice_axis(slice_axis) is not None and len(roi_size) == 3:
        raise InputError(f"slice_axis: expected None for the 3D roi_size {list(roi_size)}, found {slice_axis}")
    return len(roi_size) == 2 and slice_axis is None
