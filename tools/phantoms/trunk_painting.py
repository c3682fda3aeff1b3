"""Paint a slab of a trunk as CT shows it, and say which tissue is where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tools.phantoms.fields import smooth_field
from tools.phantoms.shapes import Canvas, Points, ellipsoid, rod
from tools.phantoms.trunk import HOSTS, WALL, Trunk, View

AIR, GAS = -1000.0, -880.0
EVERYWHERE = (slice(None),) * 3
EDGE = 1.2  # width in mm of soft edges
RING = 11.0  # thickness in mm of the muscle of the wall


class TissueCanvas(Canvas):
    """A canvas (D, H, W) with coordinates (z, y, x) that remembers which tissue was painted last.

    Coordinates y and x are the same in all slices, so that what runs through them is computed in one.

    Args:
        points: coordinates in the common anatomy (3, D, H, W), in mm.
        trunk: the person.
        key: index along D of the plane that tissues are remembered of.
    """

    def __init__(self, points: torch.Tensor, trunk: Trunk, key: int) -> None:
        super().__init__(points, EDGE)
        self.volume.fill_(AIR)
        self.hosts = torch.zeros(self.volume.shape[1:], dtype=torch.uint8)
        self.trunk = trunk
        self.key = key
        self.across = (torch.zeros(1, 1, 1), points[1, :1], points[2, :1])  # of one slice
        self.full = (points[0, :, :1, :1], points[1, :1], points[2, :1])  # of all, to be broadcast

    def lay(self, distance: torch.Tensor, value: str | float, host: str = "other", block: tuple = EVERYWHERE) -> None:
        """Paint a body of a tissue (or of Hounsfield units) and mark it as a host of lesions, or as none."""
        units = self.trunk.tissue[value] if isinstance(value, str) else value
        self.paint(block, distance, units)
        plane = self.key - (block[0].start or 0) if len(distance) > 1 else 0
        if 0 <= plane < len(distance):
            self.hosts[block[1:]].masked_fill_(distance[plane] < 0, HOSTS.index(host))

    def lay_rod(self, start: np.ndarray, end: np.ndarray, radius: float, value: str | float) -> None:
        """Paint a tube, in the block around it."""
        low, high = np.minimum(start, end) - radius - 2, np.maximum(start, end) + radius + 2
        block = self.region(low.tolist(), high.tolist())
        points = self.at(block)
        if points[0].numel():
            self.lay(rod(points, start.tolist(), end.tolist(), radius), value, block=block)


def paint_trunk(trunk: Trunk, view: View, grid: torch.Tensor, key: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint what a picture shows.

    Args:
        trunk: the person.
        view: the part of the trunk.
        grid: mm about the middle of the picture (3, D, H, W): z upwards, y to the back, x to the person's left.
        key: index along D of the middle of the key slice.

    Returns:
        Hounsfield units without noise (D, H, W) and the numbers in `HOSTS` of the key slice's tissues, uint8 (H, W).
    """
    canvas = TissueCanvas(_coordinates(trunk, view, grid), trunk, key)
    inner = _paint_wall(canvas)
    region: dict[str, Callable[[TissueCanvas, torch.Tensor], None]] = {
        "chest": _paint_chest,
        "abdomen": _paint_abdomen,
        "pelvis": _paint_pelvis,
    }
    region[view.region](canvas, inner)
    return canvas.volume, canvas.hosts


def _coordinates(trunk: Trunk, view: View, grid: torch.Tensor) -> torch.Tensor:
    """Where the voxels lie in the common anatomy, in mm."""
    points = grid.clone()
    warp = smooth_field(trunk.warp, (1, *grid.shape[2:]))
    for axis, (middle, scale) in enumerate(zip(view.middle, trunk.scale, strict=True), 1):
        points[axis] = grid[axis] / float(scale) + middle + 3.0 * warp[axis - 1]
    points[0] += trunk.height
    return points


def _oval(points: Points, middle: tuple[float, float], radii: tuple[float, float]) -> torch.Tensor:
    """Distance to a cylinder along z with a middle and half axes along y and x."""
    return ellipsoid((torch.zeros(1, 1, 1), *points[1:]), (0, *middle), (1e4, *radii))


def _beam(points: Points, start: tuple[float, float], end: tuple[float, float], radius: float) -> torch.Tensor:
    """Distance to a plate along z between two lines, with round edges."""
    return rod((torch.zeros(1, 1, 1), *points[1:]), (0, *start), (0, *end), radius)


def _paint_wall(canvas: TissueCanvas) -> torch.Tensor:
    """Paint skin, the fat under it, the muscle of wall and back, and fat inside; returns the distance to the inside."""
    points, fat = canvas.across, canvas.trunk.fat
    muscle = _oval(points, (0, 0), (WALL[1] - 12, WALL[0] - 20))
    canvas.lay(muscle - fat, "skin")
    canvas.lay(muscle - fat + 2.5, "fat", "under skin")
    canvas.lay(muscle, "muscle", "muscle")
    inner = muscle + RING
    canvas.lay(inner, "fat", "fat")
    sides = (points[0], points[1], points[2].abs())
    canvas.lay(_oval(sides, (74, 34), (21, 27)), "muscle", "muscle")
    return inner


def _paint_spine(canvas: TissueCanvas) -> None:
    """Paint vertebrae with discs between them, the canal and the processes."""
    points, (z, _, _) = canvas.across, canvas.full
    sides = (points[0], points[1], points[2].abs())
    arch = torch.minimum(_beam(sides, (58, 16), (70, 26), 5), _beam(sides, (70, 26), (84, 3), 4))
    canvas.lay(torch.minimum(arch, _beam(points, (84, 0), (100, 0), 3.5)), "cortical")
    canvas.lay(arch + 2, "marrow")
    body = _oval(points, (44, 0), (19, 24))
    canvas.lay(body, "cortical")
    canvas.lay(body + 2.0, "marrow", "bone")
    disc = torch.maximum(body, ((z / 34) % 1 - 0.5).abs() * 34 - 4.5)
    canvas.lay(disc, canvas.trunk.tissue["muscle"] + 30)
    canvas.lay(_oval(points, (71, 0), (7.5, 9)), 25.0)


def _paint_ribs(canvas: TissueCanvas, inner: torch.Tensor) -> None:
    """Paint ribs, which slope down to the front within the wall."""
    z, y, x = canvas.full
    slope = ((z - 0.5 * y - 0.25 * x.abs()) / 30) % 1 - 0.5
    depth = inner - 0.45 * RING
    rib = torch.maximum(((depth / 0.7) ** 2 + (30 * slope) ** 2).sqrt() - 6.5, 12 - x.abs())
    canvas.lay(rib, "cortical")
    canvas.lay(rib + 2.2, "marrow")


def _paint_streaks(canvas: TissueCanvas, value: float, within: torch.Tensor) -> None:
    """Paint small vessels in the slab, but only where `within` (1, H, W) says; they are hosts of nothing else."""
    before, hosts = canvas.volume.clone(), canvas.hosts.clone()
    middle = [float(p.mean()) for p in canvas.points]
    ends, radii = canvas.trunk.streaks
    for (start, end), radius in zip(ends, radii, strict=True):
        canvas.lay_rod(start + middle, end + middle, float(radius), value)
    canvas.volume = torch.where(within, canvas.volume, before)
    canvas.hosts = hosts


def _paint_chest(canvas: TissueCanvas, inner: torch.Tensor) -> None:
    points, tissue = canvas.across, canvas.trunk.tissue
    moves = canvas.trunk.moves.tolist()
    x = points[2]
    half = 33 + 9 * torch.sin(points[1] / 22 + moves[0][0])  # of the mediastinum's width
    lungs = torch.maximum(inner + 2.5, half - (x - 4).abs())
    canvas.lay(lungs, "lung", "lung")
    _paint_streaks(canvas, 0.3 * tissue["blood"] - 10, lungs < 0)
    _paint_ribs(canvas, inner)
    _paint_spine(canvas)
    canvas.lay(_beam(points, (-92, -14), (-92, 14), 7), "cortical")  # the sternum
    canvas.lay(_beam(points, (-92, -14), (-92, 14), 5), "marrow", "bone")
    (a, b), (c, d), (e, f), (g, h) = moves[1:5]
    great = (
        ((-40 + a, -4 + b), (16, 17)),
        ((-46 + c, 22 + d), (11, 15)),
        ((-30 + c, -28 + e), (9, 10)),
        ((26 + g, 26), (12, 12)),
    )
    for middle, radii in great:
        canvas.lay(_oval(points, middle, radii), "blood")
    for middle in ((4 + e, -15 + f), (4 + e, 17 + h)):  # the main bronchi
        canvas.lay(_oval(points, middle, (8, 8)), "wall")
        canvas.lay(_oval(points, middle, (6.5, 6.5)), AIR)
    canvas.lay(_oval(points, (20, 2 + h), (7, 9)), "muscle")  # the oesophagus


def _paint_abdomen(canvas: TissueCanvas, inner: torch.Tensor) -> None:
    points, full, tissue = canvas.across, canvas.full, canvas.trunk.tissue
    moves = canvas.trunk.moves.tolist()
    sides = (points[0], points[1], points[2].abs())
    _paint_streaks(canvas, 40.0, inner < 0)
    canvas.lay(_oval(sides, (48, 38), (17, 15)), "muscle", "muscle")  # the psoas
    _paint_spine(canvas)
    for loop in canvas.trunk.loops:
        canvas.lay_rod(loop.start, loop.end, loop.radius, "wall")
        canvas.lay_rod(loop.start, loop.end, loop.radius - 3, loop.content)
    (a, b), (c, d), (e, f), (g, h) = moves[:4]
    belly = inner + 2
    liver = torch.maximum(ellipsoid(full, (10, -8 + a, -76 + b), (85, 72, 68)), belly)
    canvas.lay(liver, "liver", "liver")
    canvas.lay(torch.maximum(ellipsoid(full, (10, 30 + c, 112 + d), (60, 42, 28)), belly), "spleen")
    stomach = torch.maximum(ellipsoid(full, (20, -42 + e, 62 + f), (60, 30, 36)), belly)
    canvas.lay(stomach, "wall")
    canvas.lay(stomach + 5, 35.0)
    canvas.lay(torch.maximum(stomach + 5, points[1] + 48), GAS)
    for side, y, x in ((-1, a, b), (1, c, d)):
        middle = (0, 44 + y, side * 68 + x)
        canvas.lay(ellipsoid(full, middle, (56, 24, 27)), "cortex", "kidney")
        canvas.lay(ellipsoid(full, middle, (44, 14, 17)), "medulla", "kidney")
        canvas.lay(ellipsoid(full, (0, middle[1] - 4, middle[2] - 12 * side), (24, 9, 13)), "fat")
    canvas.lay(_oval(points, (16 + g, 8 + h), (10, 10)), "blood")
    canvas.lay(_oval(points, (12 + g, -20 + h), (10, 13)), tissue["blood"] - 20)
    for y, x, radius in ((-14, 2, 4.5), (-16, -10, 6), (30, 24, 3)):
        canvas.lay(_oval(points, (y + e, x + f), (radius, radius)), "blood")
    _paint_ribs(canvas, inner)


def _paint_pelvis(canvas: TissueCanvas, inner: torch.Tensor) -> None:
    points, full, tissue = canvas.across, canvas.full, canvas.trunk.tissue
    moves = canvas.trunk.moves.tolist()
    sides = (points[0], points[1], points[2].abs())
    _paint_streaks(canvas, 45.0, inner < 0)
    canvas.lay(_oval(sides, (58, 72), (36, 52)), "muscle", "muscle")  # the buttocks
    canvas.lay(_beam(sides, (62, 40), (10, 108), 20), "muscle", "muscle")
    wing = torch.minimum(_beam(sides, (60, 46), (34, 76), 11), _beam(sides, (34, 76), (-12, 108), 8))
    canvas.lay(wing, "cortical")
    canvas.lay(wing + 2.2, "marrow", "bone")
    sacrum = _oval(points, (56, 0), (19, 42))
    canvas.lay(sacrum, "cortical")
    canvas.lay(sacrum + 2.2, "marrow", "bone")
    canvas.lay(_oval(sides, (52, 18), (4, 5)), 10.0)  # holes for the nerves
    (a, b), (c, d), (e, f), (g, h) = moves[:4]
    canvas.lay(_oval(sides, (0 + a, 74 + b), (25, 20)), "muscle", "muscle")  # the iliopsoas
    for loop in canvas.trunk.loops[::2]:
        canvas.lay_rod(loop.start, loop.end, loop.radius, "wall")
        canvas.lay_rod(loop.start, loop.end, loop.radius - 3, loop.content)
    bladder = ellipsoid(full, (-8, -48 + c, d), (48, 26, 36))
    canvas.lay(bladder, "wall")
    canvas.lay(bladder + 4, "urine")
    rectum = _oval(points, (20 + e, f), (13, 15))
    canvas.lay(rectum, "wall")
    canvas.lay(rectum + 4, 20.0)
    canvas.lay(torch.maximum(rectum + 4, points[1] - (18 + e)), GAS)
    for side, y, x in ((-1, a, g), (1, c, h)):
        canvas.lay(_oval(points, (4 + y, side * 50 + x), (6, 6)), "blood")
        canvas.lay(_oval(points, (17 + y, side * 47 + x), (7, 8)), tissue["blood"] - 45)
