"""The transforms of a grading run: from a photograph to the network's input, and random changes of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import Compose, EnsureTyped, MapTransform, Randomizable

from tools.classification.retina import CropRetinad, LocalContrastd
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import PrepareIntensityd
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured
from tools.utils.errors import InputError

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


class View(NamedTuple):
    """How a picture is changed: which axes are flipped, and factors of size and contrast, and a shift of brightness."""

    flips: tuple[int, ...]
    zoom: float
    contrast: float
    brightness: float


class RandViewd(Randomizable, MapTransform):
    """Flip pictures, zoom about their middle, change contrast and brightness: all drawn at once, in one pass.

    MONAI's chain of five transforms takes three times as long, most of it for five random generators.

    Args:
        keys: keys of pictures (C, H, W); all are changed alike.
        zoom: factors lie within 1 ± this, for half of the pictures.
        intensity_change: contrast lies within 1 ± this, brightness within ± this.
    """

    def __init__(self, keys: KeysCollection = "image", zoom: float = 0.15, intensity_change: float = 0.1) -> None:
        super().__init__(keys)
        self.zoom = zoom
        self.intensity_change = intensity_change

    def randomize(self, data: Any = None) -> View:
        """Draw a view."""
        flips, zoomed, numbers = self.R.rand(2) < 0.5, self.R.rand() < 0.5, self.R.uniform(-1, 1, 3)
        return View(
            flips=tuple(axis for axis in (0, 1) if flips[axis]),
            zoom=1 + self.zoom * numbers[0] if zoomed else 1.0,
            contrast=1 + self.intensity_change * numbers[1],
            brightness=self.intensity_change * numbers[2],
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change one sample."""
        sample, view = dict(data), self.randomize()
        for key in self.keys:
            sample[key] = apply_view(sample[key], view)
        return sample


def apply_view(picture: torch.Tensor, view: View) -> torch.Tensor:
    """Change a picture (C, H, W); zooming out leaves zeros around it, the mean of a standardised one."""
    changed = picture.flip([1 + axis for axis in view.flips]) if view.flips else picture
    if view.zoom != 1:
        size = changed.shape[1:]
        scaled = [max(1, round(edge * view.zoom)) for edge in size]
        changed = F.interpolate(changed[None], scaled, mode="bilinear")[0]
        for axis, (have, want) in enumerate(zip(scaled, size, strict=True), 1):
            changed = changed.narrow(axis, max(0, have - want) // 2, min(have, want))
        missing = [want - have for have, want in zip(changed.shape[1:], size, strict=True)]
        changed = F.pad(changed, [part for gap in reversed(missing) for part in (gap // 2, gap - gap // 2)])
    return changed * view.contrast + view.brightness
