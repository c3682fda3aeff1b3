"""Distances to simple bodies, and a canvas that paints them with soft edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Points = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> torch.Tensor:
    """Approximate distance (mm, negative inside) of points to an ellipsoid with axes along x, y and z."""
    offsets = [p - c for p, c in zip(points, centre, strict=True)]
    norm = sum((o / r) ** 2 for o, r in zip(offsets, radii, strict=True)).sqrt()
    slope = sum((o / r**2) ** 2 for o, r in zip(offsets, radii, strict=True)).sqrt()
    return norm * (norm - 1) / slope.clamp(min=1e-6)


def rod(
    points: Points, start: Sequence[float], end: Sequence[float], radii: float | tuple[float, float]
) -> torch.Tensor:
    """Distance (mm, negative inside) of points to a rod with round ends and one radius, or one per end."""
    first, last = radii if isinstance(radii, tuple) else (radii, radii)
    offsets = [p - s for p, s in zip(points, start, strict=True)]
    axis = [e - s for s, e in zip(start, end, strict=True)]
    along = sum(o * a for o, a in zip(offsets, axis, strict=True)) / sum(a * a for a in axis)
    along = along.clamp(0, 1)
    away = sum((o - along * a) ** 2 for o, a in zip(offsets, axis, strict=True)).sqrt()
    return away - (first + (last - first) * along)


def smooth_union(first: torch.Tensor, second: torch.Tensor, fillet: float) -> torch.Tensor:
    """Distance to the union of two bodies whose seam is rounded over `fillet` mm."""
    overlap = (fillet - (first - second).abs()).clamp(min=0)
    return torch.minimum(first, second) - overlap * overlap / (4 * fillet)


def mirror(points: Points) -> Points:
    """Fold the right and the left half onto each other, for bodies that come in pairs."""
    return points[0].abs(), points[1], points[2]


def by_side(x: torch.Tensor, sides: tuple[float, float]) -> torch.Tensor:
    """Return the value of the left (x <= 0) or the right side for every voxel."""
    left, right = sides
    return left + (right - left) * (x > 0)


class Canvas:
    """A volume (X, Y, Z), empty at first, on which bodies are painted one over the other.

    Args:
        points: coordinates of every voxel (3, X, Y, Z), in mm.
        edge: width of the soft edge of a body, in mm; about a voxel.
    """

    def __init__(self, points: torch.Tensor, edge: float = 2.0) -> None:
        self.points = points
        self.edge = edge
        self.volume = torch.zeros_like(points[0])
        rest = [tuple(d for d in range(3) if d != axis) for axis in range(3)]
        self._low = [points[axis].amin(rest[axis]) for axis in range(3)]
        self._high = [points[axis].amax(rest[axis]) for axis in range(3)]

    def region(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
        """Return the smallest block of voxels that holds all points between two corners (mm)."""
        block = []
        for axis in range(3):
            near = (self._high[axis] >= low[axis]) & (self._low[axis] <= high[axis])
            hits = torch.nonzero(near).flatten().tolist()
            block.append(slice(hits[0], hits[-1] + 1) if hits else slice(0, 0))
        return block[0], block[1], block[2]

    def at(self, block: tuple[slice, slice, slice]) -> Points:
        """Return the x, y and z coordinates (mm) of a block's voxels."""
        x, y, z = self.points[(slice(None), *block)]
        return x, y, z

    def paint(self, block: tuple[slice, slice, slice], distance: torch.Tensor, value: float | torch.Tensor) -> None:
        """Paint a body, given the distance (mm) of a block's voxels to it, over what is there."""
        cover = (0.5 - distance / self.edge).clamp(0, 1)
        view = self.volume[block]
        view += cover * (value - view)
