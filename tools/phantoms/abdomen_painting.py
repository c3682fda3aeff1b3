"""Paint an upper abdomen in portal venous CT, and say where the pancreas and its tumour are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from tools.phantoms.abdomen import PANCREAS, Abdomen
from tools.phantoms.fields import smooth_field
from tools.phantoms.shapes import Canvas, Points, ellipsoid, mirror, rod, smooth_union

EVERYWHERE = (slice(None), slice(None), slice(None))
AIR = -1000.0
GAS = -850.0  # in the bowel, and the lungs

#: axes of the duodenum and the colon, in mm as `PANCREAS`
DUODENUM = ((30, 36, 14), (50, 22, 2), (54, 10, -28), (38, 2, -48), (4, 0, -50))
COLON = ((98, -6, -160), (100, 4, -36), (78, 48, -34), (0, 72, -44), (-82, 44, -6), (-106, 0, 20), (-108, -16, -160))


def paint_abdomen(abdomen: Abdomen, points: torch.Tensor, edge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint a person.

    Args:
        abdomen: the person.
        points: coordinates of every voxel in the common anatomy (3, X, Y, Z), in mm.
        edge: width of the soft edges, in mm; about a voxel.

    Returns:
        Hounsfield units without noise, and labels: 1 pancreas, 2 tumour; both (X, Y, Z).
    """
    canvas = Canvas(points, edge)
    canvas.volume.fill_(AIR)
    texture = smooth_field(abdomen.texture, canvas.volume.shape)[0]
    _paint_body(canvas, abdomen)
    _paint_skeleton(canvas, abdomen)
    _paint_organs(canvas, abdomen, texture)
    _paint_bowel(canvas, abdomen, texture)
    labels = _paint_pancreas(canvas, abdomen, texture)
    vessels = _paint_vessels(canvas, abdomen)
    return canvas.volume, labels * (vessels > 0)


def _paint_body(canvas: Canvas, abdomen: Abdomen) -> None:
    """Paint skin, fat, the muscle of wall and back, the fat between the organs, and lungs and heart above."""
    tissue, points = abdomen.tissue, canvas.at(EVERYWHERE)
    inner = _cavity_distance(points)
    canvas.paint(EVERYWHERE, inner - abdomen.belly, tissue["skin"])
    canvas.paint(EVERYWHERE, inner - abdomen.belly + 3, tissue["fat"])
    canvas.paint(EVERYWHERE, inner, tissue["muscle"])
    canvas.paint(EVERYWHERE, inner + 9, tissue["fat"])
    lungs = torch.maximum(inner + 9, 3 - _diaphragm_distance(points))
    canvas.paint(EVERYWHERE, lungs, GAS)
    canvas.paint(
        EVERYWHERE, torch.maximum(ellipsoid(points, (-18, 30, 112), (58, 46, 34)), lungs - 4), tissue["artery"]
    )
    sides = mirror(points)
    canvas.paint(EVERYWHERE, rod(sides, (34, -70, -200), (34, -70, 200), 20), tissue["muscle"])
    canvas.paint(EVERYWHERE, rod(sides, (32, -42, -200), (26, -42, -10), (18, 9)), tissue["muscle"])


def _cavity_distance(points: Points) -> torch.Tensor:
    """Distance to the inside of the wall, a cylinder along z."""
    return ellipsoid((points[0], points[1], torch.zeros_like(points[0])), (0, 0, 0), (132, 92, 1e3))


def _diaphragm_distance(points: Points) -> torch.Tensor:
    """Height above the two domes of the diaphragm, negative below, where the belly is."""
    x, y, z = points
    return z - 102 + 0.008 * (x.abs() - 60) ** 2 + 0.006 * y**2


def _paint_skeleton(canvas: Canvas, abdomen: Abdomen) -> None:
    """Paint the spine with its discs and canal, and the ribs that slope down to the front."""
    tissue, points = abdomen.tissue, canvas.at(EVERYWHERE)
    x, y, z = points
    body = rod(points, (0, -46, -250), (0, -46, 250), 19)
    canvas.paint(EVERYWHERE, body, tissue["bone"])
    canvas.paint(EVERYWHERE, body + 4, tissue["marrow"])
    disc = torch.maximum(body, ((z / 32) % 1 - 0.5).abs() * 32 - 4)
    canvas.paint(EVERYWHERE, disc, tissue["muscle"] + 20)
    canvas.paint(EVERYWHERE, rod(points, (0, -74, -250), (0, -74, 250), 9), tissue["urine"])
    canvas.paint(EVERYWHERE, rod(points, (0, -88, -250), (0, -96, 250), 5), tissue["bone"])
    wall = (_cavity_distance(points) + 4).abs()
    slope = ((z + 0.45 * y - 0.4 * x.abs()) / 26) % 1 - 0.5
    rib = torch.maximum((wall * wall + (26 * slope) ** 2).sqrt() - 5, torch.maximum(y - 55, 0.5 * x.abs() - 20 - z))
    canvas.paint(EVERYWHERE, rib, tissue["bone"])


def _paint_organs(canvas: Canvas, abdomen: Abdomen, texture: torch.Tensor) -> None:
    """Paint liver with cysts and gall bladder, spleen, kidneys and stomach."""
    tissue, points = abdomen.tissue, canvas.at(EVERYWHERE)
    belly = torch.maximum(_cavity_distance(points) + 11, _diaphragm_distance(points))
    liver = smooth_union(ellipsoid(points, (70, 4, 58), (72, 88, 86)), ellipsoid(points, (2, 46, 66), (56, 40, 40)), 16)
    under = (52 - 0.75 * points[0] - 0.15 * points[1] - points[2]) / 1.25  # faces the bowel and the stomach
    liver = torch.maximum(torch.maximum(liver, under), belly)
    canvas.paint(EVERYWHERE, liver, tissue["liver"] + 5 * texture)
    for start, end, radius in (
        ((20, -8, 60), (90, 10, 74), 5),
        ((40, -2, 64), (70, -40, 60), 4),
        ((20, 0, 66), (10, 50, 72), 4),
    ):
        canvas.paint(EVERYWHERE, torch.maximum(rod(points, start, end, radius), liver + 4), tissue["vein"])
    for centre, radius in abdomen.cysts:
        canvas.paint(EVERYWHERE, torch.maximum(ellipsoid(points, centre, (radius,) * 3), liver + 2), tissue["bile"])
    canvas.paint(EVERYWHERE, ellipsoid(points, (52, 46, 2), (13, 17, 26)), tissue["bile"])
    spleen = torch.maximum(ellipsoid(points, (-104, -28, 48), (30, 50, 46)), belly)
    canvas.paint(EVERYWHERE, spleen, tissue["spleen"] + 4 * texture)
    for side, height in ((1, -26), (-1, -10)):
        centre = (60 * side, -44, height)
        canvas.paint(EVERYWHERE, ellipsoid(points, centre, (26, 23, 52)), tissue["cortex"])
        canvas.paint(EVERYWHERE, ellipsoid(points, centre, (18, 15, 42)), tissue["medulla"])
        canvas.paint(EVERYWHERE, ellipsoid(points, (50 * side, -42, height), (9, 7, 20)), tissue["fat"])
    content, level = abdomen.stomach
    stomach = smooth_union(
        ellipsoid(points, (-56, 32, 52), (36, 34, 44)), rod(points, (-40, 46, 30), (22, 44, 18), (20, 13)), 12
    )
    stomach = torch.maximum(stomach, belly)
    canvas.paint(EVERYWHERE, stomach, tissue["wall"])
    canvas.paint(EVERYWHERE, stomach + 5, content)
    canvas.paint(EVERYWHERE, torch.maximum(stomach + 5, level - points[1]), GAS)


def _paint_bowel(canvas: Canvas, abdomen: Abdomen, texture: torch.Tensor) -> None:
    """Paint loops of bowel, the colon with stool and gas, and the duodenum, walls and contents."""
    points, wall = canvas.at(EVERYWHERE), abdomen.tissue["wall"]
    inside = _cavity_distance(points) + 11
    for start, end, radius, content in abdomen.loops:
        loop = torch.maximum(rod(points, start, end, radius), inside)
        canvas.paint(EVERYWHERE, loop, wall)
        canvas.paint(EVERYWHERE, loop + 3.5, content)
    colon = torch.stack([rod(points, a, b, 17) for a, b in pairwise(COLON)]).amin(0)
    colon = torch.maximum(colon, inside)
    canvas.paint(EVERYWHERE, colon, wall)
    canvas.paint(EVERYWHERE, colon + 4, torch.where(texture > 0.3, GAS, 40.0 + 60 * texture))
    lifted = [(x, y, z + abdomen.rise) for x, y, z in DUODENUM]
    tube = torch.stack([rod(points, a, b, 12) for a, b in pairwise(lifted)]).amin(0)
    canvas.paint(EVERYWHERE, tube, wall)
    canvas.paint(EVERYWHERE, tube + 4, 25.0)


def _paint_pancreas(canvas: Canvas, abdomen: Abdomen, texture: torch.Tensor) -> torch.Tensor:
    """Paint pancreas, tumour and the duct behind it; return their labels."""
    points, base = canvas.at(EVERYWHERE), abdomen.tissue["pancreas"]
    gland = _gland_distance(points, abdomen) + 1.8 * texture
    centre, radii, darkness = abdomen.tumour
    tumour = ellipsoid(points, centre, radii) + 1.5 * texture.roll(3, 0)
    canvas.paint(EVERYWHERE, gland, base - 12 * texture.clamp(-0.5, 1.5))
    if abdomen.duct:
        axis = _axis(abdomen)
        near = int(np.linalg.norm(axis - centre, axis=1).argmin())
        pieces = [rod(points, a, b, abdomen.duct) for a, b in pairwise(axis[near:])]
        if pieces:
            duct = torch.maximum(torch.stack(pieces).amin(0), gland + 2)
            canvas.paint(EVERYWHERE, torch.maximum(duct, -tumour), abdomen.tissue["bile"])
    canvas.paint(EVERYWHERE, tumour, base - darkness + 6 * texture)
    labels = (gland < 0).to(torch.uint8)
    return torch.where(tumour < 0, 2, labels).to(torch.uint8)


def _axis(abdomen: Abdomen) -> np.ndarray:
    return np.array(PANCREAS, dtype=float)[:, :3] + abdomen.bends + (0, 0, abdomen.rise)


def _gland_distance(points: Points, abdomen: Abdomen) -> torch.Tensor:
    ends = [(*place, abdomen.girth * radius) for place, (*_, radius) in zip(_axis(abdomen), PANCREAS, strict=True)]
    pieces = [rod(points, a[:3], b[:3], (a[3], b[3])) for a, b in pairwise(ends)]
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = smooth_union(whole, piece, 4)
    return whole


def _paint_vessels(canvas: Canvas, abdomen: Abdomen) -> torch.Tensor:
    """Paint the great vessels and those that touch the pancreas; return the distance to the latter."""
    points, tissue, rise = canvas.at(EVERYWHERE), abdomen.tissue, abdomen.rise
    canvas.paint(EVERYWHERE, rod(points, (-6, -16, -250), (-4, -18, 250), 9.5), tissue["artery"])
    canvas.paint(EVERYWHERE, rod(points, (18, -16, -250), (24, -12, 250), 11), tissue["vein"] - 15)
    mesenteric = rod(points, (10, 12, -80), (9, 4, rise), 5.5)
    splenic = rod(points, (9, 4, rise + 2), (-76, -30, rise + 30), 4.0)
    portal = rod(points, (9, 4, rise), (32, 2, 44), 6.5)
    near = torch.minimum(torch.minimum(mesenteric, splenic), portal)
    canvas.paint(EVERYWHERE, near, tissue["vein"])
    canvas.paint(EVERYWHERE, rod(points, (-4, 4, -80), (-5, -12, rise + 12), 3.5), tissue["artery"])
    return near
