"""The transforms of a segmentation run: from image and label files to crops, and from scores to label files."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import (
    ClassesToIndicesd,
    Compose,
    CropForegroundd,
    DeleteItemsd,
    EnsureTyped,
    Orientationd,
    RandCropByLabelClassesd,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SqueezeDimd,
)

from tools.segmentation.label_transforms import DecodeScoresd, PrepareLabelsd, RestoreGridd
from tools.segmentation.labels import LabelManager
from tools.transforms.geometry import PadToRoid, Resampled, voxel_edges
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import build_intensity, foreground
from tools.transforms.slices import check_slice_axis, crop_edges
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.errors import InputError

IMAGE, LABEL = "image", "label"
INDICES = "_cls_indices"
MAX_CENTRES = 4096  # remembered voxels of each label that crops are centred on


def build_segmentation_preprocessing(
    roi_size: Sequence[int],
    channels: int,
    spacing: float | Sequence[float],
    label_values: Sequence[int] = (),
    hu_window: Sequence[float] | None = None,
    slice_axis: int | None = None,
    inference: bool = False,
    background_values: Sequence[int] = (),
) -> Compose:
    """Build the deterministic transforms of one case: the same for images as in pretraining, labels by nearest voxel.

    Args:
        roi_size: edges of the crop in voxels; two numbers for slices.
        channels: channels every image must have.
        spacing: voxel size that everything is resampled to, in mm: one number, or one for each axis of RAS.
        label_values: stored value of label 1, of label 2, and so on; not needed for inference.
        hu_window: lower and upper end in HU; None for the z-score.
        slice_axis: axis that slices lie across after the turn to RAS; None for 3D.
        inference: the image alone, with its positions in space.
        background_values: stored values besides 0 that become background.

    Raises:
        InputError: arguments that do not go together.
    """
    edges = _edges(roi_size, slice_axis)
    keys = [IMAGE] if inference else [IMAGE, LABEL]
    modes = ("bilinear", "nearest")[: len(keys)]
    read = [LoadVolumed(keys), CheckVolumed(IMAGE, channels, smallest=2 if slice_axis is None else 1)]
    prepare = [
        Resampled(keys, pixdim=voxel_edges(spacing), mode=modes),
        CropForegroundd(keys, source_key=IMAGE, select_fn=foreground, margin=4, allow_smaller=True),
        *build_intensity(IMAGE, hu_window, inference),
    ]
    turn = Orientationd(keys, axcodes="RAS", labels=None)
    if inference:
        return Compose([*read, turn, *prepare, EnsureTyped(keys)])  # windows are padded and cut again by the inferer
    check = PrepareLabelsd(LABEL, label_values, background=background_values)
    centres = ClassesToIndicesd(LABEL, INDICES, num_classes=1 + len(label_values), max_samples_per_class=MAX_CENTRES)
    return Compose(
        [
            *read,
            check,
            turn,
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
    crops_per_case: int = 1,
    slice_axis: int | None = None,
    flip_axes: Sequence[int] = (),
    intensity_change: float = 0.1,
) -> Compose:
    """Build the random transforms of a prepared case: crops centred on each label equally often, lightly changed.

    Args:
        roi_size: edges of the crop in voxels; two numbers for slices.
        num_labels: labels besides the background, which has its share of the crops too.
        crops_per_case: crops cut from a case at a time.
        slice_axis: axis that slices lie across; None for 3D.
        flip_axes: axes of the volume that are flipped half of the time.
        intensity_change: largest shift, and relative change, of intensities; noise up to this standard deviation.

    Raises:
        InputError: an axis that the crop does not have.
    """
    keys = [IMAGE, LABEL]
    if not set(flip_axes) <= {0, 1, 2}:
        raise InputError(f"flip_axes: expected axes among 0, 1 and 2, found {list(flip_axes)}")
    crop = RandCropByLabelClassesd(
        keys,
        label_key=LABEL,
        spatial_size=_edges(roi_size, slice_axis),
        num_classes=1 + num_labels,
        num_samples=crops_per_case,
        indices_key=LABEL + INDICES,
        warn=False,
    )
    flips = [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in flip_axes if axis != slice_axis]
    flatten = [] if slice_axis is None else [SqueezeDimd(keys, dim=1 + slice_axis)]
    change = [
        RandScaleIntensityd(IMAGE, factors=intensity_change, prob=0.5),
        RandShiftIntensityd(IMAGE, offsets=intensity_change, prob=0.5),
        RandGaussianNoised(IMAGE, prob=0.2, std=intensity_change),
    ]
    return Compose([crop, DeleteItemsd(LABEL + INDICES), *flips, *flatten, *change])


def build_segmentation_postprocessing(coding: LabelManager, label_values: Sequence[int] | None = None) -> Compose:
    """Build what turns scores into a label map on the grid, and with the values, of the file they come from.

    Args:
        coding: what the channels of the scores mean.
        label_values: value to store for label 1, for label 2, and so on; default those numbers.
    """
    return Compose([RestoreGridd("pred", IMAGE), DecodeScoresd("pred", coding, label_values)])


def _edges(roi_size: Sequence[int], slice_axis: int | None) -> list[int]:
    """Edges of a crop in the volume; refuses two without an axis to lie across, and three with one."""
    expected = 3 if check_slice_axis(slice_axis) is None else 2
    if len(roi_size) != expected:
        raise InputError(f"roi_size: expected {expected} edges with slice_axis {slice_axis}, found {list(roi_size)}")
    return crop_edges(roi_size, slice_axis)
