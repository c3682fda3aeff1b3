"""A set of generated T1-like heads as NIfTI files; the head can be painted in any MR contrast.

Coordinates are in mm: x to the person's right, y forwards, z upwards. All people have the same asymmetries:

- The right half is shifted forwards (torque) and bends over the midline at the back.
- The left ventricle is larger.
- The left Sylvian fissure is longer and flatter.
- The transverse sinus exists on the right only.
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import grid_sample

from tools.phantoms.canvas import Canvas, Points, chain, ellipsoid, mirror, noise, rod, smooth_field, smooth_union
from tools.phantoms.scans import Grid, Spacing, mr_signal, sample_grid, sample_points, to_nifti, write_nifti
from tools.phantoms.store import write_cases

VERSION = 3  # of the generator: a change of the images needs a new number, so that stored sets are written again
Tissue = dict[str, torch.Tensor]
_FOLD_CELLS, _FOLD_EXTENT = 52, 100.0  # nodes of the noise that lays out the sulci, in a cube from -100 to 100 mm
#: relative brightness in T1-weighted MRI and its spread between people
T1 = {
    "air": (0.02, 0.0), "skin": (0.42, 0.04), "fat": (0.92, 0.06), "muscle": (0.36, 0.03), "bone": (0.07, 0.02),
    "marrow": (0.58, 0.08), "csf": (0.14, 0.02), "grey": (0.47, 0.02), "white": (0.73, 0.02), "nuclei": (0.57, 0.02),
    "stem": (0.68, 0.02), "vein": (0.85, 0.05),
}  # fmt: skip


def brain_phantoms(
    folder: str, num_cases: int = 24, size: Sequence[int] = (96, 112, 96), spacing: Spacing = 2.0, seed: int = 0
) -> str:
    """Write a folder of generated heads (``head_000.nii.gz`` …) unless it exists.

    Shape, spacing, orientation and position differ between cases, as between scans from several hospitals.

    Args:
        folder: the data folder.
        num_cases: number of heads.
        size: voxels along right, anterior, superior, on average.
        spacing: voxel size in mm, on average: one number, or one for each axis.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "brain", "version": VERSION, "num_cases": num_cases, "size": list(size), "seed": seed}
    recipe["spacing"] = np.asarray(spacing, float).tolist()

    def write_case(target: Path, case: int) -> None:
        image = make_head(np.random.default_rng((seed, case)), size, spacing)
        write_nifti(image, target / f"head_{case:03d}.nii.gz")

    return write_cases(folder, recipe, write_case, num_cases)


def make_head(rng: Generator, size: Sequence[int], spacing: Spacing) -> nib.Nifti1Image:
    """Draw the scan of one person."""
    grid = sample_grid(rng, size, spacing)
    volume = torch.zeros(1, *grid.shape)
    paint_head(rng, Canvas(tuple(sample_head_points(rng, grid)), volume, 2.0), sample_tissue(rng, [T1]))
    return to_nifti(mr_signal(rng, volume[0], grid.spacing, masked=bool(rng.random() < 0.5)), grid)


def sample_tissue(rng: Generator, contrasts: Sequence[dict[str, tuple[float, float]]]) -> Tissue:
    """Draw the brightness (C, 1, 1, 1) of each tissue from its mean and spread in each contrast."""
    return {
        name: torch.tensor([float(rng.normal(*contrast[name])) for contrast in contrasts])[:, None, None, None]
        for name in contrasts[0]
    }


def sample_head_points(rng: Generator, grid: Grid, steady: float = 1.0) -> torch.Tensor:
    """Place a head in a grid, see `sample_points`; `steady` scales its tilt and its shift."""
    scale = rng.normal(1.0, 0.025) * rng.normal(1.0, 0.02, 3)
    angles, shift = steady * rng.normal(0.0, (0.09, 0.05, 0.07)), steady * rng.normal(0.0, 3.0, 3)
    points = sample_points(rng, grid, scale, np.add(shift, (0.0, -3.0, 12.0)), 2.5, angles)
    points[0] -= rng.uniform(2.0, 6.0) * torch.sigmoid((-points[1] - 45) / 10)
    points[1] -= rng.uniform(2.0, 4.0) * torch.tanh(points[0] / 12)
    return points


def cranial_distance(points: Points) -> torch.Tensor:
    """Distance (mm, negative inside) to the space inside the skull, which brain and fluid fill."""
    return smooth_union(_cerebrum_distance(points), ellipsoid(points, (0, -46, -38), (50, 36, 32)), 14) - 3.0


def paint_head(rng: Generator, canvas: Canvas, tissue: Tissue) -> None:
    """Paint a whole head: scalp, face, neck, skull and brain; the air around it is not changed."""
    points = canvas.points
    inside = cranial_distance(points)
    skull, scalp = rng.uniform((6.0, 4.5), (8.5, 8.0))
    surface = smooth_union(inside - skull - scalp, ellipsoid(points, (0, 38, -58), (58, 58, 60)), 25)
    surface = smooth_union(surface, rod(points, (0, -22, -60), (0, -34, -160), (54.0, 58.0)), 30)
    surface = smooth_union(surface, rod(points, (0, 92, -32), (0, 107, -60), (6.0, 11.0)), 10)
    marbling = smooth_field(rng, (14, 16, 14), surface.shape)  # sheets of fat between the muscles
    flesh = tissue["muscle"] + (tissue["fat"] - tissue["muscle"]) * (1.2 - 12 * marbling.abs()).clamp(0, 0.8)
    for depth, value in ((0.0, tissue["skin"]), (2.5, tissue["fat"]), (6.0, flesh)):
        canvas.paint(surface + depth, value)
    _paint_face(canvas, tissue)
    canvas.paint(inside - skull, tissue["bone"])
    canvas.paint((inside - skull / 2).abs() - (skull / 2 - 2.2), tissue["marrow"])
    paint_brain(rng, canvas, tissue)


def _paint_face(canvas: Canvas, tissue: Tissue) -> None:
    """Paint spine and cord, airway, nasal cavity, sinuses and eyes."""
    part = canvas.near((-50, -80, -170), (50, 105, -5))
    points, sides = part.points, mirror(part.points)
    for distance, name in (
        (rod(points, (0, -30, -70), (0, -42, -170), 15), "marrow"),
        (rod(points, (0, -44, -60), (0, -58, -170), 9), "csf"),
        (rod(points, (0, -4, -66), (0, -10, -150), (9.0, 7.0)), "air"),
        (ellipsoid(points, (0, 52, -74), (38, 40, 5)), "bone"),
        (ellipsoid(sides, (8, 55, -54), (5, 34, 15)), "air"),
        (ellipsoid(sides, (31, 54, -58), (13, 18, 14)), "air"),
        (rod(sides, (31, 72, -30), (14, 30, -26), (19.0, 7.0)), "fat"),
        (ellipsoid(sides, (31, 78, -30), (12.5, 12.5, 12.5)), "csf"),
    ):
        part.paint(distance, tissue[name])


def paint_brain(rng: Generator, canvas: Canvas, tissue: Tissue) -> None:
    """Paint the inside of the skull, with uneven tissue."""
    canvas.paint(cranial_distance(canvas.points), tissue["csf"])
    _paint_cerebrum(rng, canvas.near((-75, -95, -60), (75, 95, 75)), tissue)
    _paint_hindbrain(canvas.near((-60, -95, -125), (60, 10, 5)), tissue)
    _paint_deep_parts(rng, canvas.near((-50, -80, -40), (50, 50, 45)), tissue)
    _paint_veins(canvas, tissue)
    canvas.volume *= 1 + 0.05 * smooth_field(rng, (14, 16, 14), canvas.volume.shape[-3:])


def _cerebrum_distance(points: Points) -> torch.Tensor:
    """Distance to the unfolded surface of the cerebrum: an egg, flat below, with two temporal lobes."""
    x, y, z = mirror(points)
    height = torch.where(z > 4, 62.0, 40.0 - 0.08 * y)
    norm = ((x / (66 - 0.07 * y)) ** 2 + (y / 84) ** 2 + ((z - 4) / height) ** 2).sqrt()
    return smooth_union((norm - 1) * 66, ellipsoid((x, y + 0.35 * z, z), (42, -9, -28), (22, 40, 22)), 5)


def _paint_cerebrum(rng: Generator, canvas: Canvas, tissue: Tissue) -> None:
    """Paint cortex along the surface, the sulci and the fissures, and white matter inside."""
    x, y, z = points = canvas.points
    depth = -_cerebrum_distance(points)
    under = (-ellipsoid((torch.zeros_like(x), y, z), (0, -6, -2), (1, 42, 30))).clamp(min=0)
    midline = (x * x + under * under).sqrt() - 1.2  # the fissure ends above the corpus callosum
    back = torch.where(x > 0, rng.uniform(-26.0, -18.0), rng.uniform(-42.0, -34.0))
    rise = torch.where(x > 0, rng.uniform(12.0, 18.0), rng.uniform(2.0, 6.0))
    aside = z + 12 - 0.12 * (10 - y) - rise * ((10 - y) / (10 - back)).clamp(min=0) ** 2
    beyond = (back - y).clamp(min=0) + (36 - x.abs()).clamp(min=0) + (y - 34).clamp(min=0)
    sylvian = (aside * aside + beyond * beyond).sqrt() - 1.5
    edge = torch.stack([depth, _sulcus_distance(rng, points, depth), midline, sylvian]).amin(0)
    canvas.paint(-edge, tissue["grey"])
    canvas.paint(rng.uniform(3.2, 4.0) - edge, tissue["white"])


def _sulcus_distance(rng: Generator, points: Points, depth: torch.Tensor) -> torch.Tensor:
    """Return the distance to the sulci, the zero levels of a noise that hardly changes with depth."""
    folds = noise(rng, (_FOLD_CELLS,) * 3, 1.4)
    x, y, z = points
    outwards = ((x / 66) ** 2 + (y / 84) ** 2 + ((z - 4) / 58) ** 2).sqrt().clamp(min=0.35).pow(-0.7) / _FOLD_EXTENT
    places = torch.stack((z * outwards, y * outwards, x * outwards), dim=-1)[None]
    level = grid_sample(folds[None, None], places, padding_mode="border", align_corners=True)[0, 0]
    aside, below = level.abs() * 6.0, (depth - rng.uniform(16.0, 22.0) - 3 * level).clamp(min=0)
    return (aside * aside + below * below).sqrt() - rng.uniform(0.5, 1.1)


def _paint_hindbrain(canvas: Canvas, tissue: Tissue) -> None:
    """Paint brain stem, cerebellum and fourth ventricle."""
    points, sides = canvas.points, mirror(canvas.points)
    stem = rod(points, (0, -14, -14), (0, -40, -110), (15.0, 8.0))
    stem = smooth_union(stem, ellipsoid(points, (0, -17, -38), (18, 13, 15)), 5)
    vermis = ellipsoid(points, (0, -49, -40), (12, 29, 25))
    cerebellum = smooth_union(ellipsoid(sides, (22, -51, -41), (27, 29, 22)), vermis, 6)
    canvas.paint(torch.minimum(stem - 3, cerebellum - 2.5), tissue["csf"])
    canvas.paint(stem, tissue["stem"])
    canvas.paint(cerebellum, tissue["grey"])
    canvas.paint(cerebellum + 7, tissue["white"])
    canvas.paint(ellipsoid(points, (0, -34, -40), (6, 5, 9)), tissue["csf"])


def _paint_deep_parts(rng: Generator, canvas: Canvas, tissue: Tissue) -> None:
    """Paint the grey nuclei and the ventricles."""
    x, y, z = points = canvas.points
    sides = mirror(points)
    slanted = (sides[0] + 0.35 * (y - 4), y, z)
    canvas.paint(ellipsoid(sides, (11, -14, 6), (10, 16, 10)), tissue["nuclei"])
    canvas.paint(ellipsoid(slanted, (27, 2, 2), (6, 19, 13)), tissue["nuclei"])
    canvas.paint(rod(sides, (12, 26, 6), (18, -18, 22), (7.0, 3.0)), tissue["nuclei"])
    upper = chain(
        sides, ((9, 36, 6), (8, 18, 16), (15, -26, 22), (26, -42, 6), (22, -66, 2)), (3.5, 4.5, 4.5, 6.0, 2.0)
    )
    temporal, third = rod(sides, (26, -42, 6), (33, -8, -22), (4.5, 2.0)), ellipsoid(points, (0, -8, -2), (2.2, 16, 11))
    ventricle = torch.stack((upper, temporal, third)).amin(0)
    width = rng.lognormal(0.0, 0.22)
    size = torch.where(x > 0, width * rng.uniform(0.8, 0.95), width * rng.uniform(1.1, 1.3))
    canvas.paint(ventricle - 4.0 * (size - 1), tissue["csf"])


def _paint_veins(canvas: Canvas, tissue: Tissue) -> None:
    """Paint the sagittal sinus and, on the right, the transverse sinus."""
    part = canvas.near((0, -95, -70), (70, -20, 0))
    part.paint(chain(part.points, ((2, -86, -16), (30, -79, -18), (49, -58, -22), (51, -32, -50)), 4.5), tissue["vein"])
    part = canvas.near((-6, -95, -20), (6, 30, 75))
    x, y, z = part.points
    ring = ((y / 86) ** 2 + ((z - 4) / 64) ** 2).sqrt()
    tube = ((x / 1.2) ** 2 + (80 * (ring - 1)) ** 2).sqrt() - 3.0
    part.paint(torch.maximum(tube, torch.maximum(-18 - z, y - 30)), tissue["vein"])
