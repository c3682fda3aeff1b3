"""Fundus photograph transforms: preprocessing and random augmentation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import Compose, EnsureTyped, MapTransform, Randomizable

from tools.classification.retina import CropRetinad, LocalContrastd
from tools.data.formats.sources import MAX_VOXELS
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd, ResizeShorterEdged
from tools.transforms.intensity import PrepareIntensityd
from tools.utils.errors import InputError

KEY = "image"


def build_grading_preprocessing(
    roi_size: Sequence[int],
    channels: int = 3,
    local_contrast: bool = False,
    inference: bool = False,
    max_voxels: int = MAX_VOXELS,
) -> Compose:
    """Build the deterministic transforms of a photograph: load, check, crop the retina, resize, z-score.

    Args:
        roi_size: input size of the network in pixels, a square.
        channels: number of channels that every image must have.
        local_contrast: whether to subtract the local average colour, see `LocalContrastd`.
        inference: whether to keep the metadata and skip the hashes.
        max_voxels: largest number of pixels of a file, times channels.

    Raises:
        InputError: if `roi_size` is not a square.
    """
    if len(set(roi_size)) != 1 or len(roi_size) != 2:
        raise InputError(f"roi_size: expected two equal edges, since the retina is round, found {list(roi_size)}")
    hashes = [] if inference else [HashVoxelsd(KEY)]
    contrast = [LocalContrastd(KEY)] if local_contrast else []
    scale = [CropRetinad(KEY), ResizeShorterEdged(KEY, roi_size[0])]
    read = [LoadImage2Dd(KEY, max_voxels), CheckImage2Dd(KEY, channels)]
    return Compose([*read, *hashes, *scale, *contrast, PrepareIntensityd(KEY), EnsureTyped(KEY, track_meta=inference)])


class PhotographParams(NamedTuple):
    """Parameters of an augmentation: flipped axes, zoom factor, contrast factor and brightness offset."""

    flips: tuple[int, ...]
    zoom: float
    contrast: float
    brightness: float


class RandPhotographd(Randomizable, MapTransform):
    """Randomly flip images, zoom about the centre, and change contrast and brightness, in one transform.

    An equivalent chain of five MONAI transforms takes three times as long.

    Args:
        keys: keys of images (C, H, W); all keys get the same augmentation.
        max_zoom: the zoom factor is drawn from 1 ± `max_zoom` with probability 0.5.
        intensity_aug: the contrast factor is drawn from 1 ± this, the brightness offset from ± this.
    """

    def __init__(self, keys: KeysCollection = "image", max_zoom: float = 0.15, intensity_aug: float = 0.1) -> None:
        super().__init__(keys)
        self.max_zoom = max_zoom
        self.intensity_aug = intensity_aug

    def randomize(self, data: Any = None) -> PhotographParams:
        """Draw the parameters of an augmentation."""
        flips, zoomed, numbers = self.R.rand(2) < 0.5, self.R.rand() < 0.5, self.R.uniform(-1, 1, 3)
        return PhotographParams(
            flips=tuple(axis for axis in (0, 1) if flips[axis]),
            zoom=1 + self.max_zoom * numbers[0] if zoomed else 1.0,
            contrast=1 + self.intensity_aug * numbers[1],
            brightness=self.intensity_aug * numbers[2],
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Augment one sample."""
        sample, params = dict(data), self.randomize()
        for key in self.keys:
            sample[key] = augment_photograph(sample[key], params)
        return sample


def augment_photograph(image: torch.Tensor, params: PhotographParams) -> torch.Tensor:
    """Augment an image (C, H, W); zooming out pads with zeros, the mean of a z-scored image."""
    augmented = image.flip([1 + axis for axis in params.flips]) if params.flips else image
    if params.zoom != 1:
        size = augmented.shape[1:]
        scaled = [max(1, round(edge * params.zoom)) for edge in size]
        augmented = F.interpolate(augmented[None], scaled, mode="bilinear")[0]
        for axis, (have, want) in enumerate(zip(scaled, size, strict=True), 1):
            augmented = augmented.narrow(axis, max(0, have - want) // 2, min(have, want))
        missing = [want - have for have, want in zip(augmented.shape[1:], size, strict=True)]
        augmented = F.pad(augmented, [part for gap in reversed(missing) for part in (gap // 2, gap - gap // 2)])
    return augmented * params.contrast + params.brightness
