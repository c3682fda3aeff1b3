"""A set of generated abdomens in CT, in the layout of the Decathlon's Task07_Pancreas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from tools.phantoms.canvas import Canvas, Points, chain, ellipsoid, mirror, rod, smooth_field, smooth_union
from tools.phantoms.scans import Pair, ct_signal, sample_grid, sample_points, to_nifti, write_decathlon

VERSION = 3  # of the generator: a change of the images needs a new number, so that stored sets are written again
LABELS = ("background", "pancreas", "cancer")
AIR, GAS = -1000.0, -850.0
NOISE = 12.0  # HU

#: Hounsfield units by tissue and their spread between people
HU = {
    "skin": (20.0, 10.0), "fat": (-105.0, 6.0), "muscle": (58.0, 6.0), "bone": (420.0, 60.0), "marrow": (170.0, 30.0),
    "liver": (112.0, 10.0), "spleen": (122.0, 8.0), "cortex": (185.0, 15.0), "medulla": (150.0, 15.0),
    "fluid": (9.0, 5.0), "artery": (150.0, 15.0), "vein": (160.0, 12.0), "wall": (92.0, 10.0), "pancreas": (96.0, 9.0),
}  # fmt: skip
#: courses from end to end in mm: x to the right, y forwards, z upwards
PANCREAS = ((34, 14, -20), (22, 16, -4), (8, 20, 4), (-18, 14, 12), (-46, -4, 20), (-74, -18, 27))
GIRTH = (13, 13, 9, 10, 10, 8)  # radius of the pancreas along its course
DUODENUM = ((30, 36, 14), (50, 22, 2), (54, 10, -28), (38, 2, -48), (4, 0, -50))
COLON = ((98, -6, -160), (100, 4, -36), (78, 48, -34), (0, 72, -44), (-82, 44, -6), (-106, 0, 20), (-108, -16, -160))


def pancreas_phantoms(
    folder: str,
    num_cases: int = 24,
    size: Sequence[int] = (80, 64, 56),
    spacing: float | Sequence[float] = 4.0,
    seed: int = 0,
) -> str:
    """Write a Decathlon folder of generated abdomens with a pancreatic tumour each unless it exists.

    Stomach wall, bowel and its content have the Hounsfield units of the pancreas: position and shape decide. Labels
    are 1 pancreas, 2 cancer. Shape, spacing, orientation and position differ between cases.

    Args:
        folder: the data folder.
        num_cases: number of abdomens.
        size: voxels along right, anterior, superior, on average.
        spacing: voxel size in mm, on average: one number, or one for each axis.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "pancreas", "version": VERSION, "num_cases": num_cases, "size": list(size), "seed": seed}
    recipe["spacing"] = np.asarray(spacing, float).tolist()
    return write_decathlon(
        folder, "pancreas", ["CT"], LABELS, partial(make_abdomen, size=size, spacing=spacing), recipe
    )


def make_abdomen(rng: np.random.Generator, size: Sequence[int], spacing: float | Sequence[float]) -> Pair:
    """Draw the scan of one patient and its label map."""
    grid = sample_grid(rng, size, spacing)
    scale, shift = rng.normal(1.0, 0.05) * rng.normal(1.0, 0.04, 3), rng.normal(0.0, (8.0, 6.0, 10.0))
    points = sample_points(rng, grid, scale, shift, warp=4.0)
    volume, labels = paint_abdomen(rng, tuple(points), max(grid.spacing))
    return to_nifti(ct_signal(rng, volume, grid.spacing, NOISE), grid), to_nifti(labels.numpy(), grid)


def paint_abdomen(rng: np.random.Generator, points: Points, edge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Hounsfield units without noise and labels (uint8) of an upper abdomen in portal venous CT, both (X, Y, Z)."""
    canvas = Canvas(points, torch.full_like(points[0], AIR), edge)
    hu = {name: float(rng.normal(*spread)) for name, spread in HU.items()}
    texture = smooth_field(rng, (24, 24, 24), points[0].shape)
    inner = ellipsoid(points, (0, 0, 0), (132, 92, np.inf))  # the inside of the wall
    domes = points[2] - 102 + 0.008 * (points[0].abs() - 60) ** 2 + 0.006 * points[1] ** 2  # of the diaphragm
    _paint_wall(canvas, hu, inner, rng.uniform(8.0, 30.0))
    lungs = torch.maximum(inner + 9, 3 - domes)
    canvas.paint(lungs, GAS)
    canvas.paint(torch.maximum(ellipsoid(points, (-18, 30, 112), (58, 46, 34)), lungs - 4), hu["artery"])  # heart
    _paint_skeleton(canvas, hu, inner)
    _paint_organs(rng, canvas, hu, torch.maximum(inner + 11, domes), texture)
    rise = rng.uniform(-12.0, 12.0)  # of pancreas and duodenum
    _paint_bowel(rng, canvas, hu, inner + 11, texture, rise)
    labels = _paint_pancreas(rng, canvas, hu, texture, rise)
    vessels = _paint_vessels(canvas, hu, rise)
    return canvas.volume, labels * (vessels > 0)


def _paint_wall(canvas: Canvas, hu: dict[str, float], inner: torch.Tensor, belly: float) -> None:
    """Paint skin, fat of thickness `belly`, the muscles of wall and back, and the fat between the organs."""
    for depth, name in ((-belly, "skin"), (3 - belly, "fat"), (0.0, "muscle"), (9.0, "fat")):
        canvas.paint(inner + depth, hu[name])
    sides = mirror(canvas.points)
    canvas.paint(ellipsoid(sides, (34, -70, 0), (20, 20, np.inf)), hu["muscle"])
    canvas.paint(rod(sides, (32, -42, -200), (26, -42, -10), (18.0, 9.0)), hu["muscle"])


def _paint_skeleton(canvas: Canvas, hu: dict[str, float], inner: torch.Tensor) -> None:
    """Paint the spine with its discs and canal, and the ribs, which slope down to the front."""
    x, y, z = points = canvas.points
    body = ellipsoid(points, (0, -46, 0), (19, 19, np.inf))
    canvas.paint(body, hu["bone"])
    canvas.paint(body + 4, hu["marrow"])
    canvas.paint(torch.maximum(body, ((z / 32) % 1 - 0.5).abs() * 32 - 4), hu["muscle"] + 20)
    canvas.paint(ellipsoid(points, (0, -92, 0), (5, 5, np.inf)), hu["bone"])
    canvas.paint(ellipsoid(points, (0, -74, 0), (9, 9, np.inf)), hu["fluid"])
    slope = ((z + 0.45 * y - 0.4 * x.abs()) / 26) % 1 - 0.5
    rib = ((inner + 4) ** 2 + (26 * slope) ** 2).sqrt() - 5
    canvas.paint(torch.maximum(rib, torch.maximum(y - 55, 0.5 * x.abs() - 20 - z)), hu["bone"])


def _paint_organs(
    rng: np.random.Generator, canvas: Canvas, hu: dict[str, float], belly: torch.Tensor, texture: torch.Tensor
) -> None:
    """Paint liver with vessels and cysts, gall bladder, spleen, kidneys and stomach within the belly."""
    points = canvas.points
    liver = smooth_union(ellipsoid(points, (70, 4, 58), (72, 88, 86)), ellipsoid(points, (2, 46, 66), (56, 40, 40)), 16)
    under = (52 - 0.75 * points[0] - 0.15 * points[1] - points[2]) / 1.25  # the face towards bowel and stomach
    liver = torch.stack([liver, under, belly]).amax(0)
    canvas.paint(liver, hu["liver"] + 5 * texture)
    for start, end in (((20, -8, 60), (90, 10, 74)), ((40, -2, 64), (70, -40, 60)), ((20, 0, 66), (10, 50, 72))):
        canvas.paint(torch.maximum(rod(points, start, end, 4.5), liver + 4), hu["vein"])
    for _ in range(int(rng.integers(0, 4))):
        centre, radius = rng.uniform((20, -30, 20), (100, 50, 100)), rng.uniform(5.0, 12.0)
        canvas.paint(torch.maximum(ellipsoid(points, centre, (radius,) * 3), liver + 2), hu["fluid"])
    canvas.paint(ellipsoid(points, (52, 46, 2), (13, 17, 26)), hu["fluid"])
    spleen = torch.maximum(ellipsoid(points, (-104, -28, 48), (30, 50, 46)), belly)
    canvas.paint(spleen, hu["spleen"] + 4 * texture)
    for side, height in ((1, -26), (-1, -10)):
        for name, x, radii in (("cortex", 60, (26, 23, 52)), ("medulla", 60, (18, 15, 42)), ("fat", 50, (9, 7, 20))):
            canvas.paint(ellipsoid(points, (x * side, -44, height), radii), hu[name])
    bend = rod(points, (-40, 46, 30), (22, 44, 18), (20.0, 13.0))
    stomach = torch.maximum(smooth_union(ellipsoid(points, (-56, 32, 52), (36, 34, 44)), bend, 12), belly)
    canvas.paint(stomach, hu["wall"])
    canvas.paint(stomach + 5, rng.uniform(15.0, 70.0))
    canvas.paint(torch.maximum(stomach + 5, rng.uniform(52.0, 80.0) - points[1]), GAS)


def _paint_bowel(
    rng: np.random.Generator,
    canvas: Canvas,
    hu: dict[str, float],
    inside: torch.Tensor,
    texture: torch.Tensor,
    rise: float,
) -> None:
    """Paint small bowel whose content is often as bright as the pancreas, colon and duodenum."""
    points = canvas.points
    for _ in range(int(rng.integers(28, 42))):
        start = rng.uniform((-95.0, 15.0, -130.0), (95.0, 75.0, -5.0))
        end, radius = start + rng.normal(0.0, 28.0, 3), rng.uniform(9.0, 15.0)
        content = rng.choice([rng.uniform(70.0, 105.0), rng.uniform(0.0, 40.0), GAS], p=[0.6, 0.3, 0.1])
        canvas.paint_rod(start, end, radius, hu["wall"])
        canvas.paint_rod(start, end, radius - 3.5, content)
    colon = torch.maximum(chain(points, COLON, 17.0), inside)
    canvas.paint(colon, hu["wall"])
    canvas.paint(colon + 4, torch.where(texture > 0.3, GAS, 40.0 + 60 * texture))
    duodenum = chain(points, np.add(DUODENUM, (0, 0, rise)), 12.0)
    canvas.paint(duodenum, hu["wall"])
    canvas.paint(duodenum + 4, 25.0)


def _paint_pancreas(
    rng: np.random.Generator, canvas: Canvas, hu: dict[str, float], texture: torch.Tensor, rise: float
) -> torch.Tensor:
    """Paint pancreas, tumour, and often a dilated duct behind it; returns their labels."""
    points, axis = canvas.points, np.array(PANCREAS) + rng.normal(0.0, 3.5, (len(PANCREAS), 3)) + (0, 0, rise)
    gland = chain(points, axis, (rng.uniform(0.8, 1.15) * np.array(GIRTH)).tolist()) + 1.8 * texture
    position = rng.uniform(0.0, 1.6) if rng.random() < 0.6 else rng.uniform(1.6, len(axis) - 1.01)
    first = int(position)
    centre = axis[first] + (position - first) * (axis[first + 1] - axis[first]) + rng.normal(0.0, 3.0, 3)
    radii = rng.uniform(8.0, 17.0) * rng.uniform(0.8, 1.2, 3)
    tumour = ellipsoid(points, centre, radii) + 1.5 * texture.roll(3, 0)
    canvas.paint(gland, hu["pancreas"] - 12 * texture.clamp(-0.5, 1.5))
    if rng.random() < 0.6:
        duct = torch.maximum(chain(points, axis[first:], rng.uniform(1.0, 2.5)), gland + 2)
        canvas.paint(torch.maximum(duct, -tumour), hu["fluid"])
    canvas.paint(tumour, hu["pancreas"] - rng.uniform(22.0, 45.0) + 6 * texture)
    return torch.where(tumour < 0, 2, (gland < 0).to(torch.uint8)).to(torch.uint8)


def _paint_vessels(canvas: Canvas, hu: dict[str, float], rise: float) -> torch.Tensor:
    """Paint the great vessels and those at the pancreas; returns the distance to the latter."""
    points = canvas.points
    canvas.paint(ellipsoid(points, (-5, -17, 0), (9.5, 9.5, np.inf)), hu["artery"])
    canvas.paint(ellipsoid(points, (21, -14, 0), (11, 11, np.inf)), hu["vein"] - 15)
    canvas.paint(rod(points, (-4, 4, -80), (-5, -12, rise + 12), 3.5), hu["artery"])
    portal = chain(points, ((10, 12, -80), (9, 4, rise), (32, 2, 44)), 6.0)
    near = torch.minimum(portal, rod(points, (9, 4, rise + 2), (-76, -30, rise + 30), 4.0))
    canvas.paint(near, hu["vein"])
    return near
