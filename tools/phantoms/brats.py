"""A set of generated brains with gliomas, in the layout of the Decathlon's Task01_BrainTumour."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from monai.utils import ensure_tuple_rep
from numpy.random import Generator
from torch import Tensor

from tools.phantoms.brain import Tissue, cranial_distance, paint_brain, sample_head_points, sample_tissue
from tools.phantoms.canvas import Canvas, blur, chain, ellipsoid, mirror, smooth_field
from tools.phantoms.scans import Grid, Pair, Spacing, mr_signal, to_nifti, write_decathlon

VERSION = 4  # of the generator: a change of the images needs a new number, so that stored sets are written again
LABELS = ("background", "edema", "non-enhancing tumor", "enhancing tumour")
EDEMA, CORE, ENHANCING = 1, 2, 3

#: relative brightness and its spread between people by contrast, in the order of the Decathlon's Task01; tumour
#: values vary widely and overlap with healthy tissue
CONTRASTS = {
    "FLAIR": {
        "csf": (0.10, 0.02), "grey": (0.50, 0.03), "white": (0.40, 0.03), "nuclei": (0.46, 0.03), "stem": (0.41, 0.03),
        "vein": (0.14, 0.03), "edema": (0.66, 0.08), "core": (0.50, 0.12), "enhancing": (0.58, 0.10),
    },
    "T1w": {
        "csf": (0.14, 0.02), "grey": (0.47, 0.02), "white": (0.68, 0.03), "nuclei": (0.53, 0.02), "stem": (0.64, 0.03),
        "vein": (0.30, 0.05), "edema": (0.55, 0.05), "core": (0.36, 0.08), "enhancing": (0.50, 0.07),
    },
    "t1gd": {
        "csf": (0.14, 0.02), "grey": (0.49, 0.02), "white": (0.68, 0.03), "nuclei": (0.54, 0.02), "stem": (0.64, 0.03),
        "vein": (1.00, 0.08), "edema": (0.56, 0.05), "core": (0.36, 0.08), "enhancing": (0.86, 0.10),
    },
    "T2w": {
        "csf": (0.95, 0.05), "grey": (0.55, 0.03), "white": (0.38, 0.03), "nuclei": (0.46, 0.03), "stem": (0.40, 0.03),
        "vein": (0.12, 0.03), "edema": (0.68, 0.08), "core": (0.74, 0.12), "enhancing": (0.58, 0.10),
    },
}  # fmt: skip


class Focus(NamedTuple):
    """Tumour mass in mm: centre, half axes of the core, width of the enhancing rim (0 for none) and of the oedema."""

    centre: np.ndarray
    radii: np.ndarray
    rim: float
    edema: float


def brats_phantoms(
    folder: str, num_cases: int = 24, size: Sequence[int] = (60, 72, 54), spacing: Spacing = 2.75, seed: int = 0
) -> str:
    """Write a Decathlon folder of generated brains with gliomas unless it exists.

    As in BraTS, the skull is removed, all brains lie on one grid, and four contrasts (FLAIR, T1w, t1gd, T2w) are the
    channels of one file. Labels are 1 oedema, 2 core without enhancement, 3 enhancing tumour.

    Args:
        folder: the data folder.
        num_cases: number of brains.
        size: voxels along right, anterior, superior.
        spacing: voxel size in mm: one number, or one for each axis.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "brats", "version": VERSION, "num_cases": num_cases, "size": list(size), "seed": seed}
    recipe["spacing"] = np.asarray(spacing, float).tolist()
    grid = Grid(tuple(size), ensure_tuple_rep(spacing, 3), "LPS", np.zeros(3))
    return write_decathlon(folder, "BRATS", list(CONTRASTS), LABELS, partial(make_brain, grid=grid), recipe)


def make_brain(rng: Generator, grid: Grid) -> Pair:
    """Draw the scan of one patient and its label map."""
    tissue = sample_tissue(rng, list(CONTRASTS.values()))
    foci = sample_foci(rng)
    points = sample_head_points(rng, grid, steady=0.3)
    points[1:] += torch.tensor([-3.0, 9.0])[:, None, None, None]  # as BraTS does: brains in the middle of the grid
    brain = cranial_distance(tuple(points)) < -1.0
    pushed = displace(foci, points)
    volume = torch.zeros(len(CONTRASTS), *grid.shape)
    canvas = Canvas(tuple(pushed), volume, 2.0)
    paint_brain(rng, canvas, tissue)
    white = ((volume[1] - 0.5) / 0.15).clamp(0, 1)  # in T1w
    labels = grow(rng, foci, points, pushed, white) * brain
    _paint_mimics(rng, canvas)
    _paint_tumour(rng, volume, labels, tissue)
    channels = [mr_signal(rng, channel * brain, grid.spacing, masked=True) for channel in volume]
    return to_nifti(np.stack(channels, -1), grid), to_nifti(labels.numpy(), grid)


def sample_foci(rng: Generator) -> list[Focus]:
    """Draw a tumour: seven of ten enhance, one of six has a second focus."""
    enhances, radii = rng.random() < 0.7, [rng.uniform(10.0, 22.0)]
    if rng.random() < 1 / 6:
        radii.append(rng.uniform(6.0, 11.0))
    foci = []
    for radius in radii:
        x, y, z = rng.uniform((20.0, -55.0, -10.0), (46.0, 50.0, 42.0))
        centre = np.array([x * rng.choice([-1.0, 1.0]), y, z])
        rim = radius * rng.uniform(0.2, 0.5) if enhances else 0.0
        foci.append(Focus(centre, radius * rng.uniform(0.75, 1.25, 3), rim, rng.uniform(5.0, 20.0)))
    return foci


def displace(foci: Sequence[Focus], points: Tensor) -> Tensor:
    """Return the positions (3, X, Y, Z), in mm, of the tissue of every voxel before its displacement by the masses."""
    before = points.clone()
    for focus in foci:
        mean = float(focus.radii.mean())
        away = points - torch.from_numpy(focus.centre).float()[:, None, None, None]
        distance = away.norm(dim=0)
        before -= 0.4 * mean * (-distance / (1.5 * mean)).exp() * away / (distance + 0.5 * mean)
    return before


def grow(rng: Generator, foci: Sequence[Focus], points: Tensor, pushed: Tensor, white: Tensor) -> Tensor:
    """Labels (X, Y, Z), uint8, of masses in a brain with coordinates `points` (3, X, Y, Z), displaced to `pushed`.

    Oedema spreads along white matter; `white` is its fraction in every voxel. No mass crosses the midline.
    """
    shape = white.shape
    rough, reach = smooth_field(rng, (20, 20, 20), shape), 4.0 * smooth_field(rng, (20, 20, 20), shape)
    white = blur(white, 1.0)  # without blur, oedema consists of specks
    labels = torch.zeros(shape, dtype=torch.uint8)
    for focus in foci:
        outline = ellipsoid(tuple(points), focus.centre, focus.radii) + 0.35 * float(focus.radii.mean()) * rough
        outline = torch.where(pushed[0] * float(focus.centre[0]) > 0, outline, math.inf)
        oedema = outline < focus.edema * (0.35 + 0.9 * white) + reach
        labels = torch.where(oedema & (labels == 0), EDEMA, labels)
        labels = torch.where(outline < 0, ENHANCING if focus.rim else CORE, labels)
        labels = torch.where(outline < -focus.rim, CORE, labels)
    return labels.to(torch.uint8)


def _paint_mimics(rng: Generator, canvas: Canvas) -> None:
    """Paint structures as bright as a tumour: old lesions next to the ventricles, enhancing plexus and vessels."""
    sides = mirror(canvas.points)
    flair, _, t1gd, t2w = canvas.volume
    shell = ellipsoid(sides, (16, -6, 16), (11, 46, 16)).abs()
    blobs = (4 * (smooth_field(rng, (24, 24, 24), flair.shape) - 0.5)).clamp(0, 1)
    for channel in (flair, t2w):
        channel += 0.28 * blobs * (1.5 - shell / 6).clamp(0, 1)
    plexus = ellipsoid(sides, (21, -38, 10), (4, 9, 5))
    middle = chain(sides, ((10, 6, -20), (32, 8, -15), (46, -6, -6), (54, -28, 6)), 1.8)
    front = chain(sides, ((2, 30, -4), (2, 46, 22), (2, 10, 44)), 1.6)
    t1gd += 0.45 * (0.5 - plexus / 2).clamp(0, 1)
    t1gd += (0.9 - t1gd).clamp(min=0) * (0.5 - torch.minimum(middle, front) / 2).clamp(0, 1)


def _paint_tumour(rng: Generator, volume: Tensor, labels: Tensor, tissue: Tissue) -> None:
    """Paint the labelled parts into all contrasts (C, X, Y, Z), mottled, with some of the tissue below."""
    mottle = 1 + 0.12 * smooth_field(rng, (24, 24, 24), labels.shape)
    for label, name, keep in ((EDEMA, "edema", 0.35), (CORE, "core", 0.1), (ENHANCING, "enhancing", 0.1)):
        volume += (labels == label) * (1 - keep) * (tissue[name] * mottle - volume)
    volume.clamp_(min=0.02)
