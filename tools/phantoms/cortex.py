"""The folded cerebrum: white matter under a ribbon of cortex along the surface and all fissures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from tools.phantoms.fields import band_noise, sample_field
from tools.phantoms.head import FOLD_CELLS, FOLD_EXTENT, Head
from tools.phantoms.shapes import Canvas, Points, by_side, ellipsoid, mirror, smooth_union


def cerebrum_distance(points: Points) -> torch.Tensor:
    """Distance (mm) to the unfolded surface of the cerebrum: an egg, flat below, with two temporal lobes."""
    x, y, z = mirror(points)
    height = torch.where(z > 4, 62.0, 40.0 - 0.08 * y)
    norm = ((x / (66 - 0.07 * y)) ** 2 + (y / 84) ** 2 + ((z - 4) / height) ** 2).sqrt()
    lobes = ellipsoid((x, y + 0.35 * z, z), (42, -9, -28), (22, 40, 22))
    return smooth_union((norm - 1) * 66, lobes, 5)


def paint_cerebrum(canvas: Canvas, head: Head, cerebrum: torch.Tensor) -> None:
    """Paint white matter and, along the unfolded surface (given the distance to it) and all fissures, the cortex."""
    tissue = head.tissue
    block = canvas.region((-75, -95, -60), (75, 95, 75))
    points = canvas.at(block)
    depth = -cerebrum[block]
    edge = torch.minimum(depth, _fold_distance(head, points, depth))
    edge = torch.minimum(edge, _midline_distance(points))
    edge = torch.minimum(edge, _sylvian_distance(head, points))
    canvas.paint(block, -edge, tissue["grey"])
    canvas.paint(block, head.cortex - edge, tissue["white"])


@lru_cache(maxsize=1)
def _common_folds() -> torch.Tensor:
    """Return the part of the folding that all people share."""
    return band_noise(np.random.default_rng(1909).standard_normal((FOLD_CELLS,) * 3, dtype=np.float32))


def _fold_distance(head: Head, points: Points, depth: torch.Tensor) -> torch.Tensor:
    """Distance to the sulci: the zero sheets of a noise that hardly changes with depth, cut off below."""
    folds = 0.7 * _common_folds() + 0.7 * band_noise(head.folds)
    x, y, z = points
    norm = ((x / 66) ** 2 + (y / 84) ** 2 + ((z - 4) / 58) ** 2).sqrt().clamp(min=0.35)
    outwards = norm.pow(-0.7)
    level = sample_field(folds, (x * outwards, y * outwards, z * outwards), FOLD_EXTENT)
    aside = level.abs() * 6.0
    below = (depth - head.sulcus_depth - 3 * level).clamp(min=0)
    return (aside * aside + below * below).sqrt() - head.sulcus


def _midline_distance(points: Points) -> torch.Tensor:
    """Distance to the fissure between the hemispheres, which ends above the corpus callosum."""
    x, y, z = points
    flat = torch.zeros_like(x)
    below = (-ellipsoid((flat, y, z), (0, -6, -2), (1, 42, 30))).clamp(min=0)
    return (x * x + below * below).sqrt() - 1.2


def _sylvian_distance(head: Head, points: Points) -> torch.Tensor:
    """Distance to the fissure above the temporal lobe: longer and flatter on the left."""
    x, y, z = points
    back, rise = by_side(x, head.sylvian), by_side(x, head.sylvian_rise)
    behind = ((10 - y) / (10 - back)).clamp(min=0)
    aside = z + 12 - 0.12 * (10 - y) - rise * behind * behind
    beyond = (back - y).clamp(min=0) + (36 - x.abs()).clamp(min=0) + (y - 34).clamp(min=0)
    return (aside * aside + beyond * beyond).sqrt() - 1.5
