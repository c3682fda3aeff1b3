"""Photographs for classification: read as 8-bit colour, cut at random or in the middle, and scaled in one go."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable

from tools.transforms.picture import read_colour
from tools.utils.errors import InputError

KEY = "image"
TRIES = 10


class LoadColourd(MapTransform):
    """Read pictures as red, green and blue of 8 bits, whatever they are: grey ones thrice, 16 bits by their upper half.

    CMYK and palettes are converted, transparency is left out, and turned as their EXIF orientation says.

    Args:
        keys: keys whose value is a path.

    Returns:
        The sample with tensors (3, H, W) uint8 under the keys.

    Raises:
        InputError: see `tools.transforms.read_colour`.
    """

    def __init__(self, keys: KeysCollection = KEY) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the pictures of one sample."""
        sample = dict(data)
        for key in self.keys:
            sample[key] = torch.from_numpy(read_colour(str(sample[key]))).movedim(-1, 0)
        return sample


class Cut(NamedTuple):
    """What is cut out of a picture: first row and column, edges in pixels, and whether it is flipped left to right."""

    corner: tuple[int, int]
    edges: tuple[int, int]
    flip: bool = False


def sample_cut(
    size: Sequence[int], scale: Sequence[float], aspect: float, flip: float, rng: np.random.RandomState
) -> Cut:
    """Draw a cut of a random share of a picture's area and a random aspect (Szegedy et al., CVPR 2015).

    After ten cuts that do not fit it is the middle, as large as the allowed aspects let it be.

    Args:
        size: height and width of the picture.
        scale: smallest and largest share of the area.
        aspect: largest ratio of the edges.
        flip: probability of a flip.
        rng: source of the numbers.
    """
    height, width = size
    numbers = rng.rand(TRIES, 4)
    flipped = bool(rng.rand() < flip)
    for share, shape, row, column in numbers.tolist():
        wanted = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        ratio = math.exp(math.log(aspect) * (2 * shape - 1))
        rows, columns = round(math.sqrt(wanted / ratio)), round(math.sqrt(wanted * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return Cut((int(row * (height - rows + 1)), int(column * (width - columns + 1))), (rows, columns), flipped)
    rows, columns = min(height, round(width * aspect)), min(width, round(height * aspect))
    return Cut(((height - rows) // 2, (width - columns) // 2), (rows, columns), flipped)


def apply_cut(picture: torch.Tensor, cut: Cut, size: Sequence[int]) -> torch.Tensor:
    """Cut (3, H, W) uint8 and scale the piece to `size`, bilinear, averaging over the pixels that become one."""
    (row, column), (rows, columns) = cut.corner, cut.edges
    piece = picture[:, row : row + rows, column : column + columns]
    scaled = F.interpolate(piece[None], list(size), mode="bilinear", antialias=True)[0]
    return scaled.flip(2) if cut.flip else scaled


class RandCutd(Randomizable, MapTransform):
    """Cut and scale pictures at random, see `sample_cut`.

    Args:
        keys: keys of pictures (3, H, W) uint8; all are cut alike.
        size: edges of the result in pixels.
        scale: smallest and largest share of a picture's area.
        aspect: largest ratio of the edges of the piece.
        flip: probability of a flip.

    Raises:
        InputError: shares that are no increasing numbers in (0, 1].
    """

    def __init__(
        self,
        keys: KeysCollection = KEY,
        size: Sequence[int] = (48, 48),
        scale: Sequence[float] = (0.25, 1.0),
        aspect: float = 4 / 3,
        flip: float = 0.5,
    ) -> None:
        super().__init__(keys)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(f"crop_scale: expected two increasing numbers above 0, up to 1, found {list(scale)}")
        self.size = tuple(size)
        self.scale = tuple(scale)
        self.aspect = aspect
        self.flip = flip

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut one sample."""
        sample = dict(data)
        cut = sample_cut(sample[self.keys[0]].shape[1:], self.scale, self.aspect, self.flip, self.R)
        for key in self.keys:
            sample[key] = apply_cut(sample[key], cut, self.size)
        return sample


class CutMiddled(MapTransform):
    """Cut out the middle: as much as has the aspect of `size`, less a rim of an eighth in all.

    Args:
        keys: keys of pictures (3, H, W) uint8.
        size: edges of the result in pixels.
    """

    def __init__(self, keys: KeysCollection = KEY, size: Sequence[int] = (224, 224)) -> None:
        super().__init__(keys)
        self.size = tuple(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut one sample."""
        sample = dict(data)
        for key in self.keys:
            height, width = sample[key].shape[1:]
            unit = 7 / 8 * min(height / self.size[0], width / self.size[1])  # 224 of 256 pixels
            rows, columns = (max(1, round(unit * edge)) for edge in self.size)
            cut = Cut(((height - rows) // 2, (width - columns) // 2), (rows, columns))
            sample[key] = apply_cut(sample[key], cut, self.size)
        return sample


def build_colour_reading(roi_size: Sequence[int], middle: bool = False) -> Compose:
    """Build what is done with a picture whenever it is asked for, but for the random part.

    Args:
        roi_size: edges of what the network sees, in pixels.
        middle: cut the middle out.
    """
    return Compose([LoadColourd(KEY), *([CutMiddled(KEY, roi_size)] if middle else [])])
