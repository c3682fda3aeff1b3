"""Fundus photograph transforms: retina detection, cropping and local contrast normalisation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import GaussianSmooth, MapTransform

from tools.transforms.checks import sample_name
from tools.utils.errors import InputError

WORKING_SIZE = 256  # approximate longer edge, in pixels, of the downsampled image
EDGE_LEVEL = 0.25  # brightness of the edge, as a fraction of the difference between border and retina
TRIALS = 300  # RANSAC iterations
TOLERANCE = 0.02  # RANSAC inlier distance, as a fraction of the radius


class Disc(NamedTuple):
    """Disc in an image: row and column of its centre, and its radius, in pixels."""

    row: float
    column: float
    radius: float


def find_disc(image: torch.Tensor) -> Disc | None:
    """Detect the retina, a bright disc on a dark border that may be cropped, independent of exposure.

    The outermost bright pixels of all rows and columns, except those on the image border, are candidate points of the
    circle. RANSAC (Fischler and Bolles, 1981) excludes glare, notches and shadows, and the circle is fitted to the
    inliers by least squares.

    Args:
        image: (C, H, W).

    Returns:
        The disc; a disc around the whole image if there is no dark border; None if the image is constant or noise.
    """
    step = max(1, max(image.shape[1:]) // (2 * WORKING_SIZE))
    small = image[:, ::step, ::step].float().mean(0)
    if min(small.shape) >= 4:
        small, step = F.avg_pool2d(small[None, None], 2)[0, 0], 2 * step
    dark, bright = torch.quantile(small.flatten(), torch.tensor([0.02, 0.95]))
    variance = small.var()
    rough = (small.diff(dim=0).square().mean() + small.diff(dim=1).square().mean()) / 2
    if bright - dark < 1 or rough > variance:  # for white noise it is twice the variance
        return None
    retina = small > (dark + bright) / 2
    border, inside = small[~retina].median(), small[retina].median()
    mask = (small > border + EDGE_LEVEL * (inside - border)).float()[None, None]
    mask = F.max_pool2d(-F.max_pool2d(-mask, 3, 1, 1), 3, 1, 1)[0, 0] > 0  # morphological opening
    points = _edge_points(mask)
    disc = _circle(points) if dark < 0.5 * bright and len(points) > 0.1 * sum(mask.shape) else None
    if disc is None:
        height, width = image.shape[1:]
        return Disc(height / 2, width / 2, max(height, width) / 2)
    return Disc(*(value * step for value in disc))


def _edge_points(mask: torch.Tensor) -> torch.Tensor:
    """Return the first and last pixels of a mask (H, W) in each row and column: (N, 2), row and column in pixels."""
    points = []
    for transposed in (mask, mask.T):
        index = torch.arange(transposed.shape[1])
        first = torch.where(transposed, index, transposed.shape[1]).amin(1)
        last = torch.where(transposed, index, -1).amax(1)
        lines = torch.arange(len(transposed))
        for positions, edge, shift in ((first, 0, 0.0), (last, transposed.shape[1] - 1, 1.0)):
            valid = transposed.any(1) & (positions != edge)
            pairs = torch.stack([lines[valid] + 0.5, positions[valid] + shift], 1)
            points.append(pairs if transposed is mask else pairs.flip(1))
    return torch.cat(points).double()


def _circle(points: torch.Tensor) -> Disc | None:
    """Fit a circle to points (N, 2) by RANSAC and least squares; None without enough inliers."""
    generator = torch.Generator().manual_seed(0)
    triples = points[torch.randint(len(points), (TRIALS, 3), generator=generator)]
    centres, radii = _circumcircles(triples)
    extent = float((points.amax(0) - points.amin(0)).max())
    near = (torch.cdist(points[None], centres[None])[0] - radii).abs() < TOLERANCE * radii
    near &= (radii > 0.3 * extent) & (radii < 1.5 * extent)
    best = near[:, near.sum(0).argmax()]
    if best.sum() < 0.2 * len(points):
        return None
    inliers = points[best]
    solved = torch.linalg.lstsq(
        torch.cat([2 * inliers, torch.ones_like(inliers[:, :1])], 1), inliers.square().sum(1, keepdim=True)
    ).solution.flatten()
    radius = (solved[2] + solved[0] ** 2 + solved[1] ** 2).sqrt()
    return Disc(float(solved[0]), float(solved[1]), float(radius))


def _circumcircles(triples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centres (N, 2) and radii (N,) of circles through triples of points (N, 3, 2); 1e9 pixels if collinear."""
    a, b, c = triples.unbind(1)
    sides = torch.stack([b - a, c - a], 1)
    right = (sides.square().sum(-1) / 2)[..., None]
    flat = torch.linalg.det(sides).abs() < 1e-6
    sides = torch.where(flat[:, None, None], torch.eye(2, dtype=sides.dtype), sides)
    offset = torch.linalg.solve(sides, right)[..., 0]
    offset = torch.where(flat[:, None], torch.full_like(offset, 1e9), offset)
    return a + offset, offset.norm(dim=-1)


class CropRetinad(MapTransform):
    """Crop fundus photographs of any size, border and exposure to a square around the retina.

    Parts of the retina outside the photograph are filled with zeros.

    Args:
        keys: keys of images (C, H, W).

    Raises:
        InputError: if no retina is detected.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop one sample."""
        sample = dict(data)
        for key in self.keys:
            disc = find_disc(torch.Tensor.as_subclass(sample[key], torch.Tensor))
            if disc is None:
                raise InputError(
                    f"{sample_name(sample, key)}: expected a photograph of the retina, a bright disc on a dark border, "
                    "found no disc"
                )
            sample[key] = _crop(sample[key], disc)
        return sample


def _crop(image: torch.Tensor, disc: Disc) -> torch.Tensor:
    edge = max(2, round(2 * disc.radius))
    top, left = round(disc.row - disc.radius), round(disc.column - disc.radius)
    height, width = image.shape[1:]
    padding = [max(0, -left), max(0, left + edge - width), max(0, -top), max(0, top + edge - height)]
    return F.pad(image[:, max(0, top) : top + edge, max(0, left) : left + edge], padding)


class LocalContrastd(MapTransform):
    """Subtract the local average colour and scale the difference (Graham, winner of the 2015 Kaggle challenge).

    Pixels farther than 0.9 radii from the centre, where illumination falls off, are set to grey.

    Args:
        keys: keys of square images (C, H, W) in the range 0 … 255 with a centred retina, as `CropRetinad` returns.
        strength: factor of the difference.
        scale: sigma of the Gaussian average, as a fraction of the retina's radius.
    """

    def __init__(self, keys: KeysCollection = "image", strength: float = 4.0, scale: float = 1 / 30) -> None:
        super().__init__(keys)
        self.strength = strength
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise one sample."""
        sample = dict(data)
        for key in self.keys:
            image = sample[key]
            radius = image.shape[-1] / 2
            offsets = [(torch.arange(edge) + 0.5 - edge / 2) / radius for edge in image.shape[1:]]
            retina = (offsets[0][:, None] ** 2 + offsets[1] ** 2 < 1) & (image > 0).any(0)
            smooth = GaussianSmooth(sigma=self.scale * radius)
            average = smooth(image * retina) / smooth(retina[None].float()).clamp(min=1e-3)  # over the retina only
            normalised = (self.strength * (image - average) + 128).clamp(0, 255)
            inside = retina & (offsets[0][:, None] ** 2 + offsets[1] ** 2 < 0.9**2)
            sample[key] = torch.where(inside, normalised, torch.full_like(normalised, 128.0))
        return sample
