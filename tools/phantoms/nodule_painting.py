"""A nodule in its lung as a CT shows it: Hounsfield units on a grid of 1 mm, and the nodule's mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tools.phantoms.fields import band_noise, blur, smooth_field
from tools.phantoms.nodule import Lung, Nodule, Rod, Surroundings
from tools.phantoms.shapes import Canvas, Points, rod, smooth_union

FAT, MUSCLE, BONE, AIR = -100.0, 45.0, 450.0, -990.0
WALL_FAT = 2.5  # thickness in mm of the fat between pleura and muscle
EVERYWHERE = (slice(None),) * 3


def paint_nodule(
    rng: np.random.Generator, nodule: Nodule, around: Surroundings, lung: Lung, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a nodule in the middle of a crop.

    Args:
        rng: source of texture and noise.
        nodule: the nodule.
        around: what lies around it.
        lung: the scan it is from.
        shape: voxels along z, y and x, of 1 mm.

    Returns:
        Hounsfield units and the mask of the nodule, both (D, H, W).
    """
    axes = [torch.arange(n, dtype=torch.float32) - n // 2 for n in shape]
    canvas = Canvas(torch.stack(torch.meshgrid(*axes, indexing="ij")), edge=1.2)
    _paint_tissue(rng, canvas, lung)
    for tube in (*around.vessels, *nodule.feeders):
        _paint_rod(canvas, tube, lung.blood)
    if around.fissure is not None:
        way, distance = around.fissure
        canvas.paint(EVERYWHERE, (_along(canvas.at(EVERYWHERE), way) - distance).abs() - 0.4, -560.0)
    rugged = torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
    mask = _paint_body(canvas, nodule, blur(rugged, 1.5) * 8.0)
    _paint_wall(canvas, around)
    noise = blur(torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)), 0.6)
    noise *= lung.noise / float(noise.numpy().std())
    return (blur(canvas.volume, lung.blur) + noise).numpy(), mask.numpy()


def _paint_tissue(rng: np.random.Generator, canvas: Canvas, lung: Lung) -> None:
    shape = tuple(canvas.volume.shape)
    coarse = smooth_field(rng.standard_normal((1, 6, 6, 6), dtype=np.float32), shape)[0]
    fine = band_noise(rng.standard_normal(shape, dtype=np.float32))
    canvas.volume += lung.air + lung.texture * (coarse + 0.8 * fine) + 0.6 * canvas.points[1]
    if lung.emphysema:
        holes = blur(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)), 2.0)
        edge = float(np.quantile(holes.numpy(), lung.emphysema))
        canvas.volume[holes < edge] = AIR + 20


def _along(points: Points, way: np.ndarray) -> torch.Tensor:
    return sum(p * float(w) for p, w in zip(points, way, strict=True))


def _near(canvas: Canvas, tube: Rod, margin: float = 2.0) -> tuple[slice, slice, slice]:
    reach = max(tube.radii) + margin
    ends = np.stack([tube.start, tube.end])
    return canvas.region(ends.min(0) - reach, ends.max(0) + reach)


def _paint_rod(canvas: Canvas, tube: Rod, value: float) -> None:
    block = _near(canvas, tube)
    points = canvas.at(block)
    if points[0].numel():
        canvas.paint(block, rod(points, tube.start.tolist(), tube.end.tolist(), tube.radii), value)


def _paint_body(canvas: Canvas, nodule: Nodule, rugged: torch.Tensor) -> torch.Tensor:
    """Paint the nodule with its spicules; returns its mask, without them."""
    radius = nodule.diameter / 2
    spread = 1.5 * radius + nodule.edge + 3
    block = canvas.region([-spread] * 3, [spread] * 3)
    points = canvas.at(block)
    distance = _surface(points, nodule) + nodule.ruggedness * rugged[block]
    for spike in nodule.spicules:
        _paint_rod(canvas, spike, max(nodule.density, -250.0))
    view, softness = canvas.volume[block], nodule.edge
    cover = (0.5 - distance / softness).clamp(0, 1)
    grain = nodule.density + 20 * rugged[block]
    view += cover * (torch.maximum(grain, 0.3 * view + 0.7 * grain) - view)  # vessels are seen in ground glass
    if nodule.core is not None:
        value, share = nodule.core
        view += (0.5 - (distance + (1 - share) * radius) / 1.5).clamp(0, 1) * (value - view)
    if nodule.calcium is not None:
        view += _calcified(points, distance, rugged[block], nodule) * (nodule.calcium[1] - view)
    if nodule.cavity is not None:
        centre, share = nodule.cavity
        hole = _ball(points, radius * centre, radius * share) + 0.5 * rugged[block]
        view += (0.5 - hole / 1.2).clamp(0, 1) * (AIR + 60 - view)
    mask = torch.zeros(canvas.volume.shape, dtype=torch.bool)
    mask[block] = distance < 0
    return mask


def _ball(points: Points, centre: np.ndarray, radius: float) -> torch.Tensor:
    return sum((p - float(c)) ** 2 for p, c in zip(points, centre, strict=True)).sqrt() - radius


def _surface(points: Points, nodule: Nodule) -> torch.Tensor:
    """Distance to the ellipsoid with its lobes."""
    radius = nodule.diameter / 2
    scale = [(_along(points, row) / float(axis)) ** 2 for row, axis in zip(nodule.turn, nodule.axes, strict=True)]
    distance = sum(scale).sqrt() - radius
    for centre, share in zip(*nodule.lobes, strict=True):
        distance = smooth_union(distance, _ball(points, radius * centre, radius * float(share)), 0.15 * radius)
    return distance


def _calcified(points: Points, distance: torch.Tensor, rugged: torch.Tensor, nodule: Nodule) -> torch.Tensor:
    """How much of each voxel is calcium."""
    radius, pattern = nodule.diameter / 2, nodule.calcium[0]
    inside = (0.5 - (distance + 0.5) / 1.2).clamp(0, 1)
    if pattern == "central":
        return (0.5 - (distance + 0.55 * radius) / 1.5).clamp(0, 1)
    if pattern == "shell":
        return (1 - (distance + 0.2 * radius + 0.5).abs() / 1.3).clamp(0, 1) * inside
    if pattern == "popcorn":
        return ((rugged - 0.1) * 3).clamp(0, 1) * inside
    return 0.8 * inside


def _paint_wall(canvas: Canvas, around: Surroundings) -> None:
    """Paint fat, muscle and a rib behind the pleura, over everything."""
    if around.wall is None:
        return
    way, distance = around.wall
    points = canvas.at(EVERYWHERE)
    behind = around.bend - (_ball(points, (distance - around.bend) * way, 0.0))  # negative behind the wall
    canvas.paint(EVERYWHERE, behind, MUSCLE)
    canvas.paint(EVERYWHERE, torch.maximum(behind + 1.0, -(behind + 1.0 + WALL_FAT)), FAT)
    if around.rib is not None:
        depth, heading, radius = around.rib
        side = np.cross(way, heading)
        side /= np.linalg.norm(side)
        middle = (distance + depth) * way
        _paint_rod(canvas, Rod(middle - 50 * side, middle + 50 * side, (radius, radius)), BONE)
        _paint_rod(canvas, Rod(middle - 50 * side, middle + 50 * side, (radius - 2, radius - 2)), 180.0)
