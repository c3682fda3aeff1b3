"""The transforms of a run: from files to tensors that random patches are cut from, for volumes, slices and pictures."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    MapTransform,
    Orientationd,
    Randomizable,
    RandSpatialCropd,
)

from tools.transforms.geometry import PadToRoid, Resampled, voxel_edges
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import build_intensity, foreground
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured
from tools.transforms.slices import RandSliced, check_slice_axis, crop_edges
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
) -> Compose:
    """Build the deterministic transforms of one case: read, check, bring to one scale, crop to the foreground, pad.

    What a `roi_size` of two numbers is cut from follows from `slice_axis`: pictures, or the slices of volumes.

    Args:
        roi_size: edges of the random crop, of the patch at inference: voxels of a volume or slice, or pixels.
        channels: channels every image must have.
        spacing: voxel size that volumes are resampled to, in mm: one number, or one for each axis of RAS.
        hu_window: lower and upper end in HU; None for the z-score.
        slice_axis: axis slices of volumes lie across after the turn to RAS (0, 1 or 2); None for pictures and 3D.
        resize_shorter_edge: pixels of the shorter edge pictures are scaled to; None keeps their size.
        inference: keep positions in space and make no hashes.
        isotropic: refuse voxels with different edges, for tasks that rotate images by right angles.

    Raises:
        InputError: arguments that do not go together.
    """
    if isotropic and not _is_of_pictures(roi_size, slice_axis):
        _check_isotropic(spacing, slice_axis)
    hashes = [] if inference else [HashVoxelsd(KEY)]
    if _is_of_pictures(roi_size, slice_axis):
        first = _of_pictures(channels, hu_window, resize_shorter_edge, hashes)
    else:
        first = _of_volumes(channels, spacing, hashes, 2 if slice_axis is None else 1)
    pad = PadToRoid(KEY, crop_edges(roi_size, slice_axis), key="patch_size" if inference else "roi_size")
    plain = EnsureTyped(KEY) if inference else EnsureTyped(KEY, track_meta=False)
    scale = build_intensity(KEY, hu_window, inference)
    return Compose([*first, *scale, pad, plain])


def build_random_crop(roi_size: Sequence[int], slice_axis: int | None = None) -> Randomizable:
    """Build the random transform of a prepared case: a crop of `roi_size`, out of a random slice given `slice_axis`.

    Raises:
        InputError: arguments that do not go together.
    """
    _is_of_pictures(roi_size, slice_axis)
    crop = RandSpatialCropd(KEY, roi_size=roi_size, random_size=False)
    return crop if slice_axis is None else Compose([RandSliced(KEY, slice_axis), crop])


def _of_volumes(
    channels: int, spacing: float | Sequence[float] | None, hashes: list[HashVoxelsd], smallest: int
) -> list[MapTransform]:
    """From files to the foreground at one spacing."""
    if spacing is None:
        raise InputError("spacing: expected millimetres for volumes, found None")
    turn = Orientationd(KEY, axcodes="RAS", labels=None)
    scale = Resampled(KEY, pixdim=voxel_edges(spacing), mode="bilinear")
    return [
        LoadVolumed(KEY),
        CheckVolumed(KEY, channels, smallest=smallest),
        turn,
        *hashes,
        scale,
        _crop_to_foreground(),
    ]


def _check_isotropic(spacing: float | Sequence[float] | None, slice_axis: int | None) -> None:
    edges = {edge for axis, edge in enumerate(voxel_edges(spacing)) if axis != slice_axis}
    if len(edges) > 1:
        raise InputError(
            f"spacing: expected equal edges, since images are rotated by right angles, found {list(spacing)}"
        )


def _of_pictures(
    channels: int, hu_window: Sequence[float] | None, resize_shorter_edge: int | None, hashes: list[HashVoxelsd]
) -> list[MapTransform]:
    """From files to the foreground at one size: without mm, the foreground is the scale, so it is cropped first."""
    if hu_window is not None:
        raise InputError(f"hu_window: expected None for pictures, found {hu_window}; it is for CT volumes")
    scale = [] if resize_shorter_edge is None else [ResizePictured(KEY, resize_shorter_edge)]
    return [LoadPictured(KEY), CheckPictured(KEY, channels), *hashes, _crop_to_foreground(), *scale]


def _crop_to_foreground() -> CropForegroundd:
    return CropForegroundd(KEY, source_key=KEY, select_fn=foreground, margin=4, allow_smaller=True)


def _is_of_pictures(roi_size: Sequence[int], slice_axis: int | None) -> bool:
    """Whether a crop is one of pictures; refuses what is a crop of nothing."""
    if len(roi_size) not in (2, 3):
        raise InputError(f"roi_size: expected 2 or 3 edges, found {list(roi_size)}")
    if check_slice_axis(slice_axis) is not None and len(roi_size) == 3:
        raise InputError(f"slice_axis: expected None with the 3 edges of roi_size {list(roi_size)}, found {slice_axis}")
    return len(roi_size) == 2 and slice_axis is None
