"""A set of generated abdomens in CT, in the layout of the Decathlon's Task07_Pancreas."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from tools.phantoms.canvas import Canvas, chain, ellipsoid, rod, smooth_field
from tools.phantoms.scans import Pair, Spacing, ct_signal, sample_grid, sample_points, to_nifti, write_decathlon
from tools.phantoms.trunk import GAS, Slab, paint_abdomen

VERSION = 4  # of the generator: a change of the images needs a new number, so that stored sets are written again
LABELS = ("background", "pancreas", "cancer")
NOISE = 12.0  # HU
HALF = (92.0, 132.0)  # half axes of the muscles' surface along y and x in mm
#: courses from end to end in mm: z to the head, y to the back, x to the left
PANCREAS = ((-20, -14, -34), (-4, -16, -22), (4, -20, -8), (12, -14, 18), (20, 4, 46), (27, 18, 74))
GIRTH = (13, 13, 9, 10, 10, 8)  # radius of the pancreas along its course
DUODENUM = ((14, -36, -30), (2, -22, -50), (-28, -10, -54), (-48, -2, -38), (-50, 0, -4))
COLON = (
    (-160, 6, -98), (-36, -4, -100), (-34, -48, -78), (-44, -72, 0), (-6, -44, 82), (20, 0, 106), (-160, 16, 108),
)  # fmt: skip


def pancreas_phantoms(
    folder: str, num_cases: int = 24, size: Sequence[int] = (80, 64, 56), spacing: Spacing = 4.0, seed: int = 0
) -> str:
    """Write a Decathlon folder of generated abdomens with a pancreatic tumour each unless it exists.

    Stomach wall, bowel and much of its content have the Hounsfield units of the pancreas. Only position and shape
    differ. Labels are 1 pancreas, 2 cancer. Shape, spacing, orientation and position differ between cases.

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
    make = partial(make_abdomen, size=size, spacing=spacing)
    return write_decathlon(folder, "pancreas", ["CT"], LABELS, make, recipe)


def make_abdomen(rng: np.random.Generator, size: Sequence[int], spacing: Spacing) -> Pair:
    """Draw the scan of one patient and its label map."""
    grid = sample_grid(rng, size, spacing)
    scale, shift = rng.normal(1.0, 0.05) * rng.normal(1.0, 0.04, 3), rng.normal(0.0, (8.0, 6.0, 10.0))
    right, front, up = sample_points(rng, grid, scale, shift, 4.0).permute(0, 3, 2, 1)
    slab = Slab(rng, (up, -front, -right), max(grid.spacing), HALF)
    paint_abdomen(slab)
    labels = paint_pancreas(slab).permute(2, 1, 0)
    units = slab.volume[0].permute(2, 1, 0).contiguous()
    return to_nifti(ct_signal(rng, units, grid.spacing, NOISE), grid), to_nifti(labels.numpy(), grid)


def paint_pancreas(slab: Slab) -> torch.Tensor:
    """Paint colon, duodenum, pancreas with a tumour, and vessels into an abdomen; returns labels (D, H, W), uint8."""
    points, texture = slab.points, smooth_field(slab.rng, (24, 24, 24), slab.points[0].shape)
    rise = (slab.rng.uniform(-12.0, 12.0), 0, 0)
    colon = torch.maximum(chain(points, COLON, 17.0), slab.inner)
    slab.lay(colon, "wall")
    slab.lay(torch.maximum(colon + 4, 0.3 - texture), GAS)
    slab.layers(chain(points, np.add(DUODENUM, rise), 12.0), (0, "wall"), (4, 25.0))
    slab.volume[0] += 5 * texture * (slab.volume[0] > -300)
    labels = _paint_gland(slab, texture, rise)
    portal = chain(points, ((-80, -12, -10), (rise[0], -4, -9), (44, -2, -32)), 6.0)
    vessels = torch.minimum(portal, rod(points, (rise[0] + 2, -4, -9), (rise[0] + 30, 30, 76), 4.0))
    slab.lay(vessels, "blood")
    return labels * (vessels > 0)


def _paint_gland(slab: Slab, texture: torch.Tensor, rise: Sequence[float]) -> torch.Tensor:
    """Paint pancreas, tumour, and often a dilated duct behind it; returns their labels."""
    rng, points, base = slab.rng, slab.points, slab.hu["pancreas"]
    canvas = Canvas(points, slab.volume[0], slab.edge)
    axis = np.array(PANCREAS) + rng.normal(0.0, 3.5, (len(PANCREAS), 3)) + rise
    gland = chain(points, axis, (rng.uniform(0.8, 1.15) * np.array(GIRTH)).tolist()) + 1.8 * texture
    position = rng.uniform(0.0, 1.6) if rng.random() < 0.6 else rng.uniform(1.6, len(axis) - 1.01)
    first = int(position)
    centre = axis[first] + (position - first) * (axis[first + 1] - axis[first]) + rng.normal(0.0, 3.0, 3)
    radii = rng.uniform(8.0, 17.0) * rng.uniform(0.8, 1.2, 3)
    tumour = ellipsoid(points, centre, radii) + 1.5 * texture.roll(3, 0)
    canvas.paint(gland, base - 12 * texture.clamp(-0.5, 1.5))
    if rng.random() < 0.6:
        duct = torch.maximum(chain(points, axis[first:], rng.uniform(2.0, 3.5)), gland + 2)
        canvas.paint(torch.maximum(duct, -tumour), slab.hu["fluid"])
    canvas.paint(tumour, base - rng.uniform(22.0, 45.0) + 6 * texture)
    return torch.where(tumour < 0, 2, (gland < 0).to(torch.uint8)).to(torch.uint8)
