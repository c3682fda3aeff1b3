"""Paint an upper abdomen in portal venous CT, and say where the pancreas and its tumour are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from tools.phantoms.fields import smooth_field
from tools.phantoms.shapes import Canvas, Points, ellipsoid, mirror, rod, smooth_union

EVERYWHERE = (slice(None), slice(None), slice(None))
AIR = -1000.0

#: Hounsfield units by tissue and their spread between people
HU: dict[str, tuple[float, float]] = {
    "skin": (20.0, 10.0), "fat": (-105.0, 6.0), "muscle": (58.0, 6.0), "bone": (420.0, 60.0), "marrow": (170.0, 30.0),
    "liver": (112.0, 10.0), "spleen": (122.0, 8.0), "cortex": (185.0, 15.0), "medulla": (150.0, 15.0),
    "urine": (10.0, 5.0), "artery": (150.0, 15.0), "vein": (160.0, 12.0), "bile": (8.0, 5.0), "wall": (92.0, 10.0),
    "pancreas": (96.0, 9.0),
}  # fmt: skip
#: axis and radius of the pancreas from head to tail, in mm: x to the right, y forwards, z upwards
PANCREAS = ((34, 14, -20, 13), (22, 16, -4, 13), (8, 20, 4, 9), (-18, 14, 12, 10), (-46, -4, 20, 10), (-74, -18, 27, 8))
DUODENUM = ((30, 36, 14), (50, 22, 2), (54, 10, -28), (38, 2, -48), (4, 0, -50))


@dataclass(frozen=True)
class Abdomen:
    """One person. Lengths in mm.

    Attributes:
        scale: size along x, y, z relative to the common anatomy.
        shift: position in the field of view.
        warp: coarse noise (3, 6, 6, 6), the smooth individual deformation.
        belly: thickness of the fat under the skin.
        tissue: Hounsfield units by tissue.
        texture: coarse noise (1, 24, 24, 24), unevenness of the organs and lobules of the pancreas.
        rise: how much higher the pancreas lies than in the common anatomy.
        bends: individual displacement of the points of its axis (6, 3).
        girth: thickness of the pancreas relative to the common anatomy.
        loops: bowel loops, each start (3), end (3), radius, and HU of the content.
        cysts: of the liver, each centre (3) and radius.
        stomach: HU of its content, and height (y) above which it holds air.
        tumour: centre (3), radii (3) and darkness against the pancreas in HU.
        duct: radius of the dilated duct behind the tumour; 0 for none.
    """

    scale: np.ndarray
    shift: np.ndarray
    warp: np.ndarray
    belly: float
    tissue: dict[str, float]
    texture: np.ndarray
    rise: float
    bends: np.ndarray
    girth: float
    loops: tuple[tuple[np.ndarray, np.ndarray, float, float], ...]
    cysts: tuple[tuple[np.ndarray, float], ...]
    stomach: tuple[float, float]
    tumour: tuple[np.ndarray, np.ndarray, float]
    duct: float


def sample_abdomen(rng: np.random.Generator) -> Abdomen:
    """Draw one person with a tumour in head, body or tail of the pancreas."""
    rise, bends = rng.uniform(-12.0, 12.0), rng.normal(0.0, 3.5, (len(PANCREAS), 3))
    axis = np.array(PANCREAS, dtype=float)[:, :3] + bends + (0, 0, rise)
    place = rng.uniform(0.0, 1.6) if rng.random() < 0.6 else rng.uniform(1.6, len(PANCREAS) - 1.0)
    first = int(place)
    centre = axis[first] + (place - first) * (axis[min(first + 1, len(axis) - 1)] - axis[first])
    return Abdomen(
        scale=rng.normal(1.0, 0.05) * rng.normal(1.0, 0.04, 3),
        shift=rng.normal(0.0, (8.0, 6.0, 10.0)),
        warp=rng.standard_normal((3, 6, 6, 6), dtype=np.float32),
        belly=float(rng.uniform(8.0, 30.0)),
        tissue={name: float(rng.normal(*spread)) for name, spread in HU.items()},
        texture=rng.standard_normal((1, 24, 24, 24), dtype=np.float32),
        rise=float(rise),
        bends=bends,
        girth=float(rng.uniform(0.8, 1.15)),
        loops=tuple(_sample_loop(rng) for _ in range(int(rng.integers(14, 22)))),
        cysts=tuple(
            (np.array([60.0, 10.0, 60.0]) + rng.uniform(-40, 40, 3), float(rng.uniform(5.0, 12.0)))
            for _ in range(int(rng.integers(0, 4)))
        ),
        stomach=(float(rng.uniform(15.0, 70.0)), float(rng.uniform(52.0, 80.0))),
        tumour=(
            centre + rng.normal(0.0, 3.0, 3),
            rng.uniform(8.0, 17.0) * rng.uniform(0.8, 1.2, 3),
            rng.uniform(22, 45),
        ),
        duct=float(rng.uniform(2.0, 3.5)) if rng.random() < 0.6 else 0.0,
    )


def _sample_loop(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Anywhere in front of and below the pancreas, its content often as bright as the pancreas."""
    start = np.array([rng.uniform(-95.0, 95.0), rng.uniform(15.0, 75.0), rng.uniform(-130.0, -5.0)])
    content = rng.choice([rng.uniform(70.0, 105.0), rng.uniform(0.0, 40.0), -850.0], p=[0.6, 0.3, 0.1])
    return start, start + rng.normal(0.0, 28.0, 3), float(rng.uniform(9.0, 15.0)), float(content)


def abdomen_coordinates(abdomen: Abdomen, shape: Sequence[int], spacing: Sequence[float]) -> torch.Tensor:
    """Coordinates (3, X, Y, Z) of every voxel in the common anatomy, in mm; see `head_coordinates`."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    points = 4.0 * smooth_field(abdomen.warp, shape)
    for axis, (line, scale, shift) in enumerate(zip(axes, abdomen.scale, abdomen.shift, strict=True)):
        places = [1, 1, 1]
        places[axis] = len(line)
        points[axis] += ((line - float(shift)) / float(scale)).reshape(places)
    return points


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
    _paint_bowel(canvas, abdomen)
    labels = _paint_pancreas(canvas, abdomen, texture)
    vessels = _paint_vessels(canvas, abdomen)
    return canvas.volume, labels * (vessels > 0)


def _paint_body(canvas: Canvas, abdomen: Abdomen) -> None:
    """Paint skin, fat, the muscle of the wall and of the back, and the fat between the organs."""
    tissue, points = abdomen.tissue, canvas.at(EVERYWHERE)
    inner = _cavity_distance(points)
    canvas.paint(EVERYWHERE, inner - abdomen.belly, tissue["skin"])
    canvas.paint(EVERYWHERE, inner - abdomen.belly + 3, tissue["fat"])
    canvas.paint(EVERYWHERE, inner, tissue["muscle"])
    canvas.paint(EVERYWHERE, inner + 9, tissue["fat"])
    sides = mirror(points)
    canvas.paint(EVERYWHERE, rod(sides, (34, -70, -200), (34, -70, 200), 20), tissue["muscle"])
    canvas.paint(EVERYWHERE, rod(sides, (32, -42, -200), (26, -42, -10), (18, 9)), tissue["muscle"])


def _cavity_distance(points: Points) -> torch.Tensor:
    """Distance to the inside of the wall, a cylinder along z."""
    return ellipsoid((points[0], points[1], torch.zeros_like(points[0])), (0, 0, 0), (132, 92, 1e3))


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
    liver = smooth_union(ellipsoid(points, (66, 6, 62), (62, 74, 66)), ellipsoid(points, (2, 42, 66), (52, 34, 34)), 16)
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
    canvas.paint(EVERYWHERE, ellipsoid(points, (-96, -26, 52), (26, 44, 46)), tissue["spleen"] + 4 * texture)
    for side, height in ((1, -26), (-1, -10)):
        centre = (60 * side, -44, height)
        canvas.paint(EVERYWHERE, ellipsoid(points, centre, (26, 23, 52)), tissue["cortex"])
        canvas.paint(EVERYWHERE, ellipsoid(points, centre, (18, 15, 42)), tissue["medulla"])
        canvas.paint(EVERYWHERE, ellipsoid(points, (50 * side, -42, height), (9, 7, 20)), tissue["fat"])
    content, level = abdomen.stomach
    stomach = smooth_union(
        ellipsoid(points, (-56, 32, 52), (36, 34, 44)), rod(points, (-40, 46, 30), (22, 44, 18), (20, 13)), 12
    )
    canvas.paint(EVERYWHERE, stomach, tissue["wall"])
    canvas.paint(EVERYWHERE, stomach + 5, content)
    canvas.paint(EVERYWHERE, torch.maximum(stomach + 5, level - points[1]), -850.0)


def _paint_bowel(canvas: Canvas, abdomen: Abdomen) -> None:
    """Paint loops of bowel and the duodenum, walls and contents."""
    points, wall = canvas.at(EVERYWHERE), abdomen.tissue["wall"]
    inside = _cavity_distance(points) + 11
    for start, end, radius, content in abdomen.loops:
        loop = torch.maximum(rod(points, start, end, radius), inside)
        canvas.paint(EVERYWHERE, loop, wall)
        canvas.paint(EVERYWHERE, loop + 3.5, content)
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
