"""Implicit bodies, smooth random fields, and a canvas that paints bodies with soft edges."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn.functional import avg_pool3d, interpolate, pad

Point = Sequence[float]  # coordinates in mm
Points = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def ellipsoid(points: Points, centre: Point, radii: Sequence[float]) -> torch.Tensor:
    """Approximate distance (mm, negative inside) to an ellipsoid; an infinite radius makes a cylinder."""
    axes = [(p - float(c), float(r)) for p, c, r in zip(points, centre, radii, strict=True) if math.isfinite(r)]
    norm = sum((o / r) ** 2 for o, r in axes).sqrt()
    slope = sum((o / r**2) ** 2 for o, r in axes).sqrt()
    return norm * (norm - 1) / slope.clamp(min=1e-6)


def rod(points: Points, start: Point, end: Point, radii: float | tuple[float, float]) -> torch.Tensor:
    """Distance (mm, negative inside) to a rod with round ends and one radius, or one per end."""
    first, last = radii if isinstance(radii, tuple) else (radii, radii)
    offsets = [p - float(s) for p, s in zip(points, start, strict=True)]
    axis = [float(e - s) for s, e in zip(start, end, strict=True)]
    along = (sum(o * a for o, a in zip(offsets, axis, strict=True)) / sum(a * a for a in axis)).clamp(0, 1)
    away = sum((o - along * a) ** 2 for o, a in zip(offsets, axis, strict=True)).sqrt()
    return away - (first + (last - first) * along)


def chain(points: Points, knots: Sequence[Point], radii: float | Sequence[float]) -> torch.Tensor:
    """Return the distance to a bent rod through knots, with one radius in total or per knot."""
    widths = [float(r) for r in radii] if isinstance(radii, Sequence) else [float(radii)] * len(knots)
    ends = zip(pairwise(knots), pairwise(widths), strict=True)
    return torch.stack([rod(points, *places, width) for places, width in ends]).amin(0)


def smooth_union(first: torch.Tensor, second: torch.Tensor, fillet: float) -> torch.Tensor:
    """Distance to the union of two bodies with a seam rounded over `fillet` mm."""
    overlap = (fillet - (first - second).abs()).clamp(min=0)
    return torch.minimum(first, second) - overlap * overlap / (4 * fillet)


def mirror(points: Points) -> Points:
    """Fold the left half onto the right, for paired bodies."""
    return points[0].abs(), points[1], points[2]


def smooth_field(rng: np.random.Generator, cells: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Draw a smooth random field (X, Y, Z) of about unit spread, interpolated between `cells` nodes of white noise."""
    coarse = torch.from_numpy(rng.standard_normal(tuple(cells), dtype=np.float32))[None, None]
    fine = interpolate(coarse, scale_factor=4, mode="trilinear", align_corners=True)
    fine = avg_pool3d(pad(fine, (2, 2) * 3, mode="replicate"), 5, stride=1)  # removes the kinks
    return interpolate(fine, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def noise(rng: np.random.Generator, shape: Sequence[int], sigma: float | Sequence[float]) -> torch.Tensor:
    """Draw blurred white noise (X, Y, Z) of unit spread."""
    volume = blur(torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)), sigma)
    return volume / float(volume.numpy().std())


def blur(volume: torch.Tensor, sigma: float | Sequence[float]) -> torch.Tensor:
    """Blur a volume (X, Y, Z) with a Gaussian of sigma voxels, one for all axes or one per axis."""
    return torch.from_numpy(gaussian_filter(volume.numpy(), sigma, mode="nearest", truncate=2.5))


class Canvas:
    """Volume (X, Y, Z) or (C, X, Y, Z), changed in place, on which bodies with soft edges are painted.

    `points` are the coordinates of its voxels along each axis in mm, each (X, Y, Z) or of size 1 along other axes;
    `edge` is the width of the soft edges in mm, about a voxel.
    """

    def __init__(self, points: Points, volume: torch.Tensor, edge: float) -> None:
        self.points, self.volume, self.edge = points, volume, edge

    def near(self, low: Point, high: Point) -> "Canvas":
        """Return the part of the canvas between two corners (mm); it shares memory with the whole."""
        block = []
        for axis, p in enumerate(self.points):
            rest = [d for d in range(3) if d != axis]
            hits = torch.nonzero((p.amax(rest) >= low[axis]) & (p.amin(rest) <= high[axis])).flatten().tolist()
            block.append(slice(hits[0], hits[-1] + 1) if hits else slice(0, 0))
        points = [
            p[tuple(b if n > 1 else slice(None) for b, n in zip(block, p.shape, strict=True))] for p in self.points
        ]
        return Canvas(tuple(points), self.volume[(..., *block)], self.edge)

    def paint(self, distance: torch.Tensor, value: float | torch.Tensor) -> None:
        """Paint a body over the existing content, given the distance (mm) of the voxels to it."""
        cover = (0.5 - distance / self.edge).clamp(0, 1)
        self.volume += cover * (value - self.volume)

    def paint_rod(
        self, start: Point, end: Point, radii: float | tuple[float, float], value: float | torch.Tensor
    ) -> None:
        """Paint a rod; only the voxels around it are computed."""
        reach = np.max(radii) + 2 * self.edge
        part = self.near(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if part.volume.numel():
            part.paint(rod(part.points, start, end, radii), value)
