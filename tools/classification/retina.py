"""Photographs of the retina: find the disc, cut it out round and centred, even out its light."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import GaussianSmooth, MapTransform

from tools.transforms.checks import sample_name
from tools.utils.errors import InputError

LOOKED_AT = 256  # pixels of the longer edge of the copy that the disc is looked for in, about
EDGE = 0.25  # the disc begins at this share of the brightness between border and retina
TRIALS = 300
NEAR = 0.02  # of the radius: what lies so close to a circle is on it


class Disc(NamedTuple):
    """A disc in a picture: row and column of its centre, and its radius, in pixels."""

    row: float
    column: float
    radius: float


def find_disc(picture: torch.Tensor) -> Disc | None:
    """Find the bright disc on a dark border in a photograph, whatever its exposure; its sides may be cut off.

    The outermost bright pixels of all rows and columns that do not lie on the picture's own edge are points of the
    circle, but for glare, notches and shadows: the circle through three of them that most others lie on wins (Fischler
    and Bolles, 1981), and is then fitted to those by least squares.

    Args:
        picture: (C, H, W).

    Returns:
        The disc; one around the whole picture where there is no border; None in a picture without content.
    """
    step = max(1, max(picture.shape[1:]) // (2 * LOOKED_AT))
    small = picture[:, ::step, ::step].float().mean(0)
    if min(small.shape) >= 4:
        small, step = F.avg_pool2d(small[None, None], 2)[0, 0], 2 * step
    dark, bright = torch.quantile(small.flatten(), torch.tensor([0.02, 0.95]))
    variance = small.var()
    rough = (small.diff(dim=0).square().mean() + small.diff(dim=1).square().mean()) / 2
    if bright - dark < 1 or rough > variance:  # of pure noise twice the variance
        return None
    retina = small > (dark + bright) / 2
    border, inside = small[~retina].median(), small[retina].median()
    mask = (small > border + EDGE * (inside - border)).float()[None, None]
    mask = F.max_pool2d(-F.max_pool2d(-mask, 3, 1, 1), 3, 1, 1)[0, 0] > 0  # without specks
    points = _edge_points(mask)
    disc = _circle(points) if dark < 0.5 * bright and len(points) > 0.1 * sum(mask.shape) else None
    if disc is None:
        height, width = picture.shape[1:]
        return Disc(height / 2, width / 2, max(height, width) / 2)
    return Disc(*(value * step for value in disc))


def _edge_points(mask: torch.Tensor) -> torch.Tensor:
    """Where rows and columns of a mask (H, W) enter and leave it: (N, 2), row and column, in pixels from the corner."""
    found = []
    for turned in (mask, mask.T):
        index = torch.arange(turned.shape[1])
        first = torch.where(turned, index, turned.shape[1]).amin(1)
        last = torch.where(turned, index, -1).amax(1)
        lines = torch.arange(len(turned))
        for places, edge, shift in ((first, 0, 0.0), (last, turned.shape[1] - 1, 1.0)):
            kept = turned.any(1) & (places != edge)
            pairs = torch.stack([lines[kept] + 0.5, places[kept] + shift], 1)
            found.append(pairs if turned is mask else pairs.flip(1))
    return torch.cat(found).double()


def _circle(points: torch.Tensor) -> Disc | None:
    """The circle that most of the points (N, 2) lie on."""
    generator = torch.Generator().manual_seed(0)
    triples = points[torch.randint(len(points), (TRIALS, 3), generator=generator)]
    centres, radii = _through(triples)
    extent = float((points.amax(0) - points.amin(0)).max())
    near = (torch.cdist(points[None], centres[None])[0] - radii).abs() < NEAR * radii
    near &= (radii > 0.3 * extent) & (radii < 1.5 * extent)
    best = near[:, near.sum(0).argmax()]
    if best.sum() < 0.2 * len(points):
        return None
    on = points[best]
    solved = torch.linalg.lstsq(
        torch.cat([2 * on, torch.ones_like(on[:, :1])], 1), on.square().sum(1, keepdim=True)
    ).solution.flatten()
    radius = (solved[2] + solved[0] ** 2 + solved[1] ** 2).sqrt()
    return Disc(float(solved[0]), float(solved[1]), float(radius))


def _through(triples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (N, 2) and radii (N,) of circles through triples of points (N, 3, 2); far off for those in a line."""
    a, b, c = triples.unbind(1)
    sides = torch.stack([b - a, c - a], 1)
    right = (sides.square().sum(-1) / 2)[..., None]
    flat = torch.linalg.det(sides).abs() < 1e-6
    sides = torch.where(flat[:, None, None], torch.eye(2, dtype=sides.dtype), sides)
    offset = torch.linalg.solve(sides, right)[..., 0]
    offset = torch.where(flat[:, None], torch.full_like(offset, 1e9), offset)
    return a + offset, offset.norm(dim=-1)


class CropRetinad(MapTransform):
    """Cut the retina's disc out of photographs of any size, border and exposure: a square, the disc round in it.

    What the photograph has cut off of the disc is filled with zeros.

    Args:
        keys: keys of pictures (C, H, W).

    Raises:
        InputError: no disc to see.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut one sample."""
        sample = dict(data)
        for key in self.keys:
            disc = find_disc(torch.Tensor.as_subclass(sample[key], torch.Tensor))
            if disc is None:
                raise InputError(
                    f"{sample_name(sample, key)}: expected a photograph of the retina, a bright disc on a dark border, "
                    "found no disc"
                )
            sample[key] = _cut(sample[key], disc)
        return sample


def _cut(picture: torch.Tensor, disc: Disc) -> torch.Tensor:
    edge = max(2, round(2 * disc.radius))
    top, left = round(disc.row - disc.radius), round(disc.column - disc.radius)
    height, width = picture.shape[1:]
    padding = [max(0, -left), max(0, left + edge - width), max(0, -top), max(0, top + edge - height)]
    return F.pad(picture[:, max(0, top) : top + edge, max(0, left) : left + edge], padding)


class LocalContrastd(MapTransform):
    """Subtract the local average colour and stretch what is left (Graham, winner of the 2015 Kaggle challenge).

    Outside nine tenths of the disc's radius, where the light falls off, pictures become grey.

    Args:
        keys: keys of square pictures (C, H, W) of 8-bit range with the disc in the middle, as `CropRetinad` cuts them.
        strength: factor of the stretch.
        scale: sigma of the average, as a share of the disc's radius.
    """

    def __init__(self, keys: KeysCollection = "image", strength: float = 4.0, scale: float = 1 / 30) -> None:
        super().__init__(keys)
        self.strength = strength
        self.scale = scale

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Even out one sample."""
        sample = dict(data)
        for key in self.keys:
            picture = sample[key]
            radius = picture.shape[-1] / 2
            offsets = [(torch.arange(edge) + 0.5 - edge / 2) / radius for edge in picture.shape[1:]]
            seen = (offsets[0][:, None] ** 2 + offsets[1] ** 2 < 1) & (picture > 0).any(0)
            smooth = GaussianSmooth(sigma=self.scale * radius)
            average = smooth(picture * seen) / smooth(seen[None].float()).clamp(min=1e-3)  # of the disc alone
            even = (self.strength * (picture - average) + 128).clamp(0, 255)
            inside = seen & (offsets[0][:, None] ** 2 + offsets[1] ** 2 < 0.9**2)
            sample[key] = torch.where(inside, even, torch.full_like(even, 128.0))
        return sample
