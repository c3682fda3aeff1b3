"""Segmentation transforms: preprocessing, random crops with augmentation, and postprocessing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.transforms import (
    ClassesToIndicesd,
    Compose,
    CropForegroundd,
    DeleteItemsd,
    EnsureTyped,
    Orientationd,
    RandAffined,
    RandCropByLabelClassesd,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SqueezeDimd,
)

from tools.data.formats.sources import MAX_VOXELS
from tools.segmentation.label_transforms import DecodeLogitsd, MapLabelsd, RestoreOriginalGridd
from tools.segmentation.labels import LabelManager
from tools.transforms.geometry import CheckedSpacingd, PadToRoid, check_spacing
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import build_intensity, foreground
from tools.transforms.slices import check_slice_axis, volume_crop_size
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.errors import InputError

IMAGE, LABEL = "image", "label"
INDICES = "_cls_indices"
MAX_ROTATION = math.radians(30)
SCALE_RANGE = (-0.3, 0.4)  # added to 1
MAX_CENTRES = 4096  # stored candidate crop centres per label


def build_segmentation_preprocessing(
    roi_size: Sequence[int],
    channels: int,
    spacing: float | Sequence[float],
    label_values: Sequence[int] = (),
    hu_window: Sequence[float] | None = None,
    slice_axis: int | None = None,
    inference: bool = False,
    background_values: Sequence[int] = (),
    max_voxels: int = MAX_VOXELS,
) -> Compose:
    """Build the deterministic transforms of a case: images as in pretraining, labels by nearest-neighbour resampling.

    Args:
        roi_size: crop size in voxels; two numbers for slices.
        channels: number of channels that every image must have.
        spacing: voxel size in mm that images are resampled to: one number, or one for each axis of RAS.
        label_values: stored value of label 1, of label 2, and so on; not needed for inference.
        hu_window: lower and upper end of the intensity window in HU; None for z-score normalisation.
        slice_axis: axis perpendicular to the slices in RAS orientation; None for 3D.
        inference: whether to process the image only and keep its metadata.
        background_values: stored values that are mapped to the background, in addition to 0.
        max_voxels: largest number of voxels of a file, and of an image after resampling.

    Raises:
        InputError: if `roi_size` does not match `slice_axis`.
    """
    edges = _edges(roi_size, slice_axis)
    keys = [IMAGE] if inference else [IMAGE, LABEL]
    modes = ("bilinear", "nearest")[: len(keys)]
    read = [LoadVolumed(keys, max_voxels), CheckVolumed(IMAGE, channels, smallest=2 if slice_axis is None else 1)]
    prepare = [
        CheckedSpacingd(keys, check_spacing(spacing), max_voxels, mode=modes),
        CropForegroundd(keys, source_key=IMAGE, select_fn=foreground, margin=4, allow_smaller=True),
        *build_intensity(IMAGE, hu_window, inference),
    ]
    reorient = Orientationd(keys, axcodes="RAS", labels=None)
    if inference:
        return Compose([*read, reorient, *prepare, EnsureTyped(keys)])  # the inferer pads to the window
    check = MapLabelsd(LABEL, label_values, background=background_values)
    centres = ClassesToIndicesd(LABEL, INDICES, num_classes=1 + len(label_values), max_samples_per_class=MAX_CENTRES)
    return Compose(
        [
            *read,
            check,
            reorient,
            HashVoxelsd(IMAGE),
            HashVoxelsd(LABEL, "label_hashes"),
            *prepare,
            PadToRoid(keys, edges),
            EnsureTyped(keys, track_meta=False),
            centres,
        ]
    )


def build_segmentation_crops(
    roi_size: Sequence[int],
    num_labels: int,
    num_samples: int = 1,
    slice_axis: int | None = None,
    flip_axes: Sequence[int] = (),
    spatial_aug: float = 0.0,
    intensity_aug: float = 0.1,
) -> Compose:
    """Build the random transforms of a preprocessed case: class-balanced crops, spatial and intensity augmentation.

    Args:
        roi_size: crop size in voxels; two numbers for slices.
        num_labels: number of labels without the background. Crops are centred on each label and on the background
            equally often.
        num_samples: number of crops per case.
        slice_axis: axis perpendicular to the slices; None for 3D.
        flip_axes: axes of the volume that are flipped with probability 0.5.
        spatial_aug: probability of a rotation by up to 30° about each axis and scaling of the crop by 0.7 to 1.4, the
            ranges of nnU-Net (Isensee et al., Nature Methods 2021).
        intensity_aug: maximum intensity shift, relative scaling, and standard deviation of the noise.

    Raises:
        InputError: if `flip_axes` has other axes than 0, 1 and 2, or `roi_size` does not match `slice_axis`.
    """
    keys = [IMAGE, LABEL]
    if not set(flip_axes) <= {0, 1, 2}:
        raise InputError(f"flip_axes: expected axes among 0, 1 and 2, found {list(flip_axes)}")
    crop = RandCropByLabelClassesd(
        keys,
        label_key=LABEL,
        spatial_size=_edges(roi_size, slice_axis),
        num_classes=1 + num_labels,
        num_samples=num_samples,
        indices_key=LABEL + INDICES,
        warn=False,
    )
    flips = [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in flip_axes if axis != slice_axis]
    flatten = [] if slice_axis is None else [SqueezeDimd(keys, dim=1 + slice_axis)]
    spatial = [] if spatial_aug == 0 else [_affine(keys, len(roi_size), spatial_aug)]
    intensity = [
        RandScaleIntensityd(IMAGE, factors=intensity_aug, prob=0.5),
        RandShiftIntensityd(IMAGE, offsets=intensity_aug, prob=0.5),
        RandGaussianNoised(IMAGE, prob=0.2, std=intensity_aug),
    ]
    return Compose([crop, DeleteItemsd(LABEL + INDICES), *flips, *flatten, *spatial, *intensity])


def _affine(keys: Sequence[str], dims: int, prob: float) -> RandAffined:
    """Build the random rotation and scaling of a crop with `dims` spatial axes."""
    return RandAffined(
        keys,
        prob=prob,
        rotate_range=[MAX_ROTATION] * (3 if dims == 3 else 1),
        scale_range=[SCALE_RANGE] * dims,
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
        cache_grid=False,
    )


def build_segmentation_postprocessing(
    label_manager: LabelManager, label_values: Sequence[int] | None = None
) -> Compose:
    """Build the transforms from logits to a label map on the original grid with the stored values.

    Args:
        label_manager: maps labels to channels of the network.
        label_values: stored value of label 1, of label 2, and so on; 1, 2, 3 … by default.
    """
    return Compose([RestoreOriginalGridd("pred", IMAGE), DecodeLogitsd("pred", label_manager, label_values)])


def _edges(roi_size: Sequence[int], slice_axis: int | None) -> list[int]:
    """Return the crop size in the volume; raise an `InputError` if it does not match `slice_axis`."""
    expected = 3 if check_slice_axis(slice_axis) is None else 2
    if len(roi_size) != expected:
        raise InputError(f"roi_size: expected {expected} numbers with slice_axis {slice_axis}, found {list(roi_size)}")
    return volume_crop_size(roi_size, slice_axis)
