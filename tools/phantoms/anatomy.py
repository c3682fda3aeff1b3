"""Paint a head: soft tissue, face, skull, brain."""

from __future__ import annotations

from itertools import pairwise

import torch

from tools.phantoms.cortex import cerebrum_distance, paint_cerebrum
from tools.phantoms.fields import smooth_field
from tools.phantoms.head import Head
from tools.phantoms.shapes import Canvas, Points, by_side, ellipsoid, mirror, rod, smooth_union

EVERYWHERE = (slice(None), slice(None), slice(None))


def paint_head(head: Head, points: torch.Tensor) -> torch.Tensor:
    """Paint a person.

    Args:
        head: the person.
        points: coordinates of every voxel in the common anatomy (3, X, Y, Z), in mm, from `head_coordinates`.

    Returns:
        Brightness (X, Y, Z), about 0 to 1, without noise; exactly 0 outside the head only.
    """
    canvas = Canvas(points)
    texture = smooth_field(head.texture, canvas.volume.shape)[0]
    cerebrum = cerebrum_distance(canvas.at(EVERYWHERE))
    inside = _skull_distance(canvas.at(EVERYWHERE), cerebrum)
    _paint_soft_tissue(canvas, head, inside, texture)
    _paint_neck(canvas, head)
    _paint_face(canvas, head)
    _paint_eyes(canvas, head)
    _paint_skull(canvas, head, inside, texture)
    paint_cerebrum(canvas, head, cerebrum)
    _paint_stem(canvas, head)
    _paint_nuclei(canvas, head)
    _paint_ventricles(canvas, head)
    _paint_cerebellum(canvas, head)
    _paint_veins(canvas, head)
    return canvas.volume * (1 + 0.05 * texture)


def brain_distance(points: Points) -> torch.Tensor:
    """Distance (mm, negative inside) to the space inside the skull, which brain and fluid fill."""
    return _skull_distance(points, cerebrum_distance(points))


def _skull_distance(points: Points, cerebrum: torch.Tensor) -> torch.Tensor:
    """Distance to the space inside the skull."""
    below = ellipsoid(points, (0, -46, -38), (50, 36, 32))
    return smooth_union(cerebrum, below, 14) - 3.0


def _paint_soft_tissue(canvas: Canvas, head: Head, inside: torch.Tensor, texture: torch.Tensor) -> None:
    """Paint scalp, cheeks, nose, ears and neck, all still without bone.

    `inside` is the distance to the space inside the skull.
    """
    points = canvas.at(EVERYWHERE)
    sides = mirror(points)
    surface = inside - head.skull - head.scalp
    face = ellipsoid(points, (0, 38, -58), (58, 58, 60))
    neck = rod(points, (0, -22, -60), (0, -34, -160), (54, 58))
    surface = smooth_union(smooth_union(surface, face, 25), neck, 30)
    surface = smooth_union(surface, rod(points, (0, 92, -32), (0, 107, -60), (6, 11)), 10)
    ears = ellipsoid(sides, (83, -14, -42), (8, 17, 28))
    surface = torch.minimum(surface, ears)
    fat = (1.2 - 12 * (texture - 0.15).abs()).clamp(0, 0.8)  # sheets between the muscles
    marbled = head.tissue["muscle"] + (head.tissue["fat"] - head.tissue["muscle"]) * fat
    canvas.paint(EVERYWHERE, surface, head.tissue["skin"])
    canvas.paint(EVERYWHERE, surface + 2.5, head.tissue["fat"])
    canvas.paint(EVERYWHERE, surface + 6.0, marbled)


def _paint_neck(canvas: Canvas, head: Head) -> None:
    """Paint the spine with its cord, and the throat."""
    tissue = head.tissue
    block = canvas.region((-20, -80, -160), (20, 10, -50))
    points = canvas.at(block)
    canvas.paint(block, rod(points, (0, -30, -70), (0, -42, -170), 15), tissue["marrow"])
    canvas.paint(block, rod(points, (0, -44, -60), (0, -58, -170), 10), tissue["csf"])
    canvas.paint(block, rod(points, (0, -44, -60), (0, -58, -170), 6), tissue["stem"])
    canvas.paint(block, rod(points, (0, -4, -66), (0, -10, -150), (9, 7)), tissue["air"])


def _paint_face(canvas: Canvas, head: Head) -> None:
    """Paint tongue, palate, the cavity of the nose and the sinuses beside and behind it."""
    tissue = head.tissue
    block = canvas.region((-50, 0, -115), (50, 100, -30))
    points = canvas.at(block)
    sides = mirror(points)
    canvas.paint(block, ellipsoid(points, (0, 42, -92), (26, 36, 15)), tissue["muscle"])
    canvas.paint(block, ellipsoid(points, (0, 52, -74), (38, 40, 5)), tissue["bone"])
    canvas.paint(block, ellipsoid(sides, (8, 55, -54), (5, 34, 15)), tissue["air"])
    canvas.paint(block, ellipsoid(sides, (11, 52, -58), (2, 26, 5)), tissue["skin"])
    canvas.paint(block, ellipsoid(sides, (31, 54, -58), (13, 18, 14)), tissue["air"])
    canvas.paint(block, ellipsoid(points, (0, 22, -46), (12, 11, 9)), tissue["air"])


def _paint_eyes(canvas: Canvas, head: Head) -> None:
    """Paint the orbits: fat, optic nerve, a muscle, the eye and its lens."""
    tissue = head.tissue
    block = canvas.region((-55, 10, -55), (55, 105, -5))
    sides = mirror(canvas.at(block))
    canvas.paint(block, rod(sides, (31, 72, -30), (14, 30, -26), (19, 7)), tissue["fat"])
    canvas.paint(block, rod(sides, (31, 66, -30), (10, 28, -26), 2.5), tissue["white"])
    canvas.paint(block, rod(sides, (41, 72, -30), (17, 34, -26), 2), tissue["muscle"])
    canvas.paint(block, ellipsoid(sides, (31, 78, -30), (12.5, 12.5, 12.5)), tissue["eye"])
    canvas.paint(block, ellipsoid(sides, (31, 86, -30), (5, 2.5, 5)), tissue["lens"])


def _paint_skull(canvas: Canvas, head: Head, inside: torch.Tensor, texture: torch.Tensor) -> None:
    """Paint the two tables of the skull with marrow between, and the fluid inside."""
    tissue = head.tissue
    block = canvas.region((-90, -115, -85), (90, 110, 85))
    points = canvas.at(block)
    inside = inside[block]
    marrow = (inside - head.skull / 2).abs() - (head.skull / 2 - 2.2 + 0.8 * texture[block])
    canvas.paint(block, inside - head.skull, tissue["bone"])
    canvas.paint(block, marrow, tissue["marrow"])
    canvas.paint(block, inside, tissue["csf"])
    sinus = ellipsoid(points, (head.frontal_sinus, 80, -14), (16, 16, 12))
    canvas.paint(block, torch.maximum(sinus, marrow), tissue["air"])


def _paint_stem(canvas: Canvas, head: Head) -> None:
    """Paint the brain stem with the bulge of the pons, and the fluid around it."""
    block = canvas.region((-25, -55, -125), (25, 10, 5))
    points = canvas.at(block)
    shaft = rod(points, (0, -14, -14), (0, -40, -110), (15, 8))
    stem = smooth_union(shaft, ellipsoid(points, (0, -17, -38), (18, 13, 15)), 5)
    canvas.paint(block, stem - 3, head.tissue["csf"])
    canvas.paint(block, stem, head.tissue["stem"])


def _paint_nuclei(canvas: Canvas, head: Head) -> None:
    """Paint the grey nuclei and the hippocampus."""
    tissue = head.tissue
    block = canvas.region((-45, -45, -35), (45, 40, 35))
    sides = mirror(canvas.at(block))
    x, y, z = sides
    slanted = (x + 0.35 * (y - 4), y, z)
    canvas.paint(block, ellipsoid(sides, (11, -14, 6), (10, 16, 10)), tissue["thalamus"])
    canvas.paint(block, ellipsoid(slanted, (27, 2, 2), (6, 19, 13)), tissue["nuclei"])
    canvas.paint(block, ellipsoid(slanted, (20, 0, 0), (4.5, 11, 8)), tissue["pallidum"])
    canvas.paint(block, rod(sides, (12, 26, 6), (18, -18, 22), (7, 3)), tissue["nuclei"])
    canvas.paint(block, rod(sides, (27, -4, -26), (25, -36, -10), (6, 3.5)), tissue["grey"])


def _paint_ventricles(canvas: Canvas, head: Head) -> None:
    """Paint the lateral ventricles with their three horns, and the third; the left one is larger."""
    block = canvas.region((-50, -80, -40), (50, 50, 45))
    points = canvas.at(block)
    sides = mirror(points)
    size = by_side(points[0], head.ventricles)
    horns = [
        rod(sides, (9, 36, 6), (8, 18, 16), (3.5, 4.5)),
        rod(sides, (8, 18, 16), (15, -26, 22), (4.5, 4.5)),
        rod(sides, (15, -26, 22), (26, -42, 6), (4.5, 6.0)),
        rod(sides, (26, -42, 6), (22, -66, 2), (5.0, 2.0)),
        rod(sides, (26, -42, 6), (33, -8, -22), (4.5, 2.0)),
        ellipsoid(points, (0, -8, -2), (2.2, 16, 11)),
    ]
    body = torch.stack(horns).amin(0)
    canvas.paint(block, body - 4.0 * (size - 1), head.tissue["csf"])


def _paint_cerebellum(canvas: Canvas, head: Head) -> None:
    """Paint the cerebellum with its fine leaves, and the fourth ventricle."""
    tissue = head.tissue
    block = canvas.region((-60, -95, -80), (60, -15, 0))
    points = canvas.at(block)
    sides = mirror(points)
    x, y, z = sides
    surface = smooth_union(
        ellipsoid(sides, (22, -51, -41), (27, 29, 22)), ellipsoid(points, (0, -49, -40), (12, 29, 25)), 6
    )
    leaf = (z + 42) / (1.2 + (y + 25).abs() / 30) + 0.12 * x
    aside = ((leaf / 5.5) % 1 - 0.5).abs() * 5.5
    below = (-surface - 13).clamp(min=0)
    edge = torch.minimum(-surface, (aside * aside + below * below).sqrt() + 0.4)
    canvas.paint(block, surface - 2.5, tissue["csf"])
    canvas.paint(block, surface, tissue["grey"])
    canvas.paint(block, torch.maximum(2.6 - edge, surface), tissue["white"])
    canvas.paint(block, ellipsoid(points, (0, -34, -40), (6, 5, 9)), tissue["csf"])


def _paint_veins(canvas: Canvas, head: Head) -> None:
    """Paint the sagittal sinus and the transverse sinus, which most people have on the right only."""
    block = canvas.region((0, -95, -70), (70, -20, 0))
    points = canvas.at(block)
    path = [(2, -86, -16), (30, -79, -18), (49, -58, -22), (51, -32, -50)]
    for start, end in pairwise(path):
        canvas.paint(block, rod(points, start, end, 4.5), head.tissue["vein"])
    arc = canvas.region((-6, -95, -20), (6, 30, 75))
    x, y, z = canvas.at(arc)
    ring = ((y / 86) ** 2 + ((z - 4) / 64) ** 2).sqrt()
    tube = ((x / 1.2) ** 2 + (80 * (ring - 1)) ** 2).sqrt() - 3.0
    canvas.paint(arc, torch.maximum(tube, torch.maximum(-18 - z, y - 30)), head.tissue["vein"])
