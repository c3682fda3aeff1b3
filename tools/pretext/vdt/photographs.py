"""Transforms of photographs for classification: 8-bit RGB loading, random resized crop, resized centre crop."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable

from tools.data.formats.sources import MAX_VOXELS
from tools.transforms.image2d import read_colour
from tools.transforms.loading import LoadFilesd
from tools.utils.errors import InputError

KEY = "image"
MAX_ATTEMPTS = 10


class LoadRGBd(LoadFilesd):
    """Load images as 8-bit RGB.

    Greyscale, CMYK and palette images are converted. Of 16-bit values, the upper 8 bits are used. Transparency is
    ignored, and the EXIF orientation is applied.

    Args:
        keys: keys of image paths.
        max_voxels: largest number of pixels of a file, times channels.

    Returns:
        The sample with images (3, H, W), uint8.

    Raises:
        InputError: see `tools.transforms.read_colour`.
    """

    def load(self, source: str | Path, sample: Mapping[Hashable, Any]) -> torch.Tensor:
        """Load an image."""
        return torch.from_numpy(read_colour(str(source), self.max_voxels)).movedim(-1, 0)


class Crop(NamedTuple):
    """Crop of an image: first row and column, height and width in pixels, and horizontal flip."""

    corner: tuple[int, int]
    size: tuple[int, int]
    flip: bool = False


def sample_crop(
    size: Sequence[int], scale: Sequence[float], max_ratio: float, flip_prob: float, rng: np.random.RandomState
) -> Crop:
    """Sample a crop with random area and aspect ratio (Szegedy et al., CVPR 2015).

    If no crop fits in ten attempts, the largest centre crop with an allowed aspect ratio is used, as in torchvision.

    Args:
        size: height and width of the image.
        scale: minimum and maximum fraction of the image area.
        max_ratio: maximum aspect ratio; the minimum is its inverse.
        flip_prob: probability of a horizontal flip.
        rng: random generator.
    """
    height, width = size
    numbers = rng.rand(MAX_ATTEMPTS, 4)
    flip = bool(rng.rand() < flip_prob)
    for fraction, shape, row, column in numbers.tolist():
        area = height * width * (scale[0] + (scale[1] - scale[0]) * fraction)
        ratio = math.exp(math.log(max_ratio) * (2 * shape - 1))
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return Crop((int(row * (height - rows + 1)), int(column * (width - columns + 1))), (rows, columns), flip)
    rows, columns = min(height, round(width * max_ratio)), min(width, round(height * max_ratio))
    return Crop(((height - rows) // 2, (width - columns) // 2), (rows, columns), flip)


def resized_crop(image: torch.Tensor, crop: Crop, size: Sequence[int]) -> torch.Tensor:
    """Crop an image (3, H, W), uint8, and resize it to `size` by bilinear interpolation with antialiasing."""
    (row, column), (rows, columns) = crop.corner, crop.size
    cropped = image[:, row : row + rows, column : column + columns]
    resized = F.interpolate(cropped[None], list(size), mode="bilinear", antialias=True)[0]
    return resized.flip(2) if crop.flip else resized


class RandResizedCropd(Randomizable, MapTransform):
    """Random resized crop of images, see `sample_crop`.

    Args:
        keys: keys of images (3, H, W), uint8; all get the same crop.
        size: height and width of the result, in pixels.
        scale: minimum and maximum fraction of the image area.
        max_ratio: maximum aspect ratio; the minimum is its inverse.
        flip_prob: probability of a horizontal flip.

    Raises:
        InputError: if `scale` is not increasing, or not in (0, 1].
    """

    def __init__(
        self,
        keys: KeysCollection = KEY,
        size: Sequence[int] = (48, 48),
        scale: Sequence[float] = (0.25, 1.0),
        max_ratio: float = 4 / 3,
        flip_prob: float = 0.5,
    ) -> None:
        super().__init__(keys)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(f"crop_scale: expected two increasing numbers above 0, up to 1, found {list(scale)}")
        self.size = tuple(size)
        self.scale = tuple(scale)
        self.max_ratio = max_ratio
        self.flip_prob = flip_prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the images of a sample."""
        sample = dict(data)
        crop = sample_crop(sample[self.keys[0]].shape[1:], self.scale, self.max_ratio, self.flip_prob, self.R)
        for key in self.keys:
            sample[key] = resized_crop(sample[key], crop, self.size)
        return sample


class ResizedCenterCropd(MapTransform):
    """Resized centre crop: 7/8 of the largest centre crop with the aspect ratio of `size`, as 224 of 256 pixels.

    Args:
        keys: keys of images (3, H, W), uint8.
        size: height and width of the result, in pixels.
    """

    def __init__(self, keys: KeysCollection = KEY, size: Sequence[int] = (224, 224)) -> None:
        super().__init__(keys)
        self.size = tuple(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the images of a sample."""
        sample = dict(data)
        for key in self.keys:
            height, width = sample[key].shape[1:]
            unit = 7 / 8 * min(height / self.size[0], width / self.size[1])
            rows, columns = (max(1, round(unit * edge)) for edge in self.size)
            crop = Crop(((height - rows) // 2, (width - columns) // 2), (rows, columns))
            sample[key] = resized_crop(sample[key], crop, self.size)
        return sample


def build_photograph_preprocessing(
    roi_size: Sequence[int], center_crop: bool = False, max_voxels: int = MAX_VOXELS
) -> Compose:
    """Build the deterministic transforms of photographs.

    Args:
        roi_size: height and width of the network input, in pixels.
        center_crop: apply `ResizedCenterCropd` after loading, for validation.
        max_voxels: largest number of pixels of a file, times channels.
    """
    return Compose([LoadRGBd(KEY, max_voxels), *([ResizedCenterCropd(KEY, roi_size)] if center_crop else [])])
