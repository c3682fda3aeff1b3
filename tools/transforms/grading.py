"""The transforms of a grading run: from a photograph to the network's input, and random changes of it."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import Compose, EnsureTyped, RandFlipd, RandScaleIntensityd, RandShiftIntensityd, RandZoomd

from tools.errors import InputError
from tools.transforms.fundus import CropRetinad, LocalContrastd
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import PrepareIntensityd
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured

KEY = "image"


def build_grading_preprocessing(
    roi_size: Sequence[int], channels: int = 3, local_contrast: bool = False, inference: bool = False
) -> Compose:
    """Build the deterministic transforms of one photograph: read, check, cut the retina out, scale, z-score.

    Args:
        roi_size: edges of the network's input in pixels, equal ones.
        channels: channels every picture must have.
        local_contrast: subtract the local average colour, see `LocalContrastd`.
        inference: keep the picture's file name and make no hashes.

    Raises:
        InputError: edges that differ.
    """
    if len(set(roi_size)) != 1 or len(roi_size) != 2:
        raise InputError(f"roi_size: expected two equal edges, since the retina is round, found {list(roi_size)}")
    hashes = [] if inference else [HashVoxelsd(KEY)]
    even = [LocalContrastd(KEY)] if local_contrast else []
    scale = [CropRetinad(KEY), ResizePictured(KEY, roi_size[0])]
    read = [LoadPictured(KEY), CheckPictured(KEY, channels)]
    return Compose([*read, *hashes, *scale, *even, PrepareIntensityd(KEY), EnsureTyped(KEY, track_meta=inference)])


def build_grading_augmentation(zoom: float = 0.15, intensity_change: float = 0.1) -> Compose:
    """Build the random transforms of a prepared photograph: flips, zoom, brightness and contrast.

    Args:
        zoom: factors lie within 1 ± this.
        intensity_change: largest shift, and relative change, of intensities.
    """
    flips = [RandFlipd(KEY, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    scale = [RandZoomd(KEY, prob=0.5, min_zoom=1 - zoom, max_zoom=1 + zoom, mode="bilinear")] if zoom else []
    change = [
        RandScaleIntensityd(KEY, factors=intensity_change, prob=0.5),
        RandShiftIntensityd(KEY, offsets=intensity_change, prob=0.5),
    ]
    return Compose([*flips, *scale, *change])
