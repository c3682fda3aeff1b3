"""A set of generated crops around one hippocampus in T1-weighted MRI, in the layout of the Decathlon's Task04."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from tools.phantoms.brain import T1, paint_brain, sample_head_points, sample_tissue
from tools.phantoms.canvas import Canvas, chain, ellipsoid, smooth_field
from tools.phantoms.scans import Pair, Spacing, mr_signal, sample_grid, to_nifti, write_decathlon

VERSION = 1  # of the generator: a change of the images needs a new number, so that stored sets are written again
LABELS = ("background", "anterior", "posterior")
#: course of the right hippocampus from head to tail, and centre of the crops, in mm: right, forwards, upwards
COURSE = ((23, -3, -23), (26, -12, -21), (26, -22, -15), (23, -32, -7), (18, -39, 1))
GIRTH = (4.0, 6.0, 4.6, 4.2, 2.5)
CENTRE = (25.0, -20.0, -12.0)


def hippocampus_phantoms(
    folder: str, num_cases: int = 24, size: Sequence[int] = (36, 50, 36), spacing: Spacing = 1.0, seed: int = 0
) -> str:
    """Write a Decathlon folder of generated crops around the left or right hippocampus unless it exists.

    Amygdala and cortex next to the hippocampus have its brightness. Labels are 1 anterior, 2 posterior; the border
    between them is a plane that varies between people. Shape, spacing, orientation and position differ between cases.

    Args:
        folder: the data folder.
        num_cases: number of crops, each of another person.
        size: voxels along right, anterior, superior, on average.
        spacing: voxel size in mm, on average: one number, or one for each axis.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "hippocampus", "version": VERSION, "num_cases": num_cases, "size": list(size), "seed": seed}
    recipe["spacing"] = np.asarray(spacing, float).tolist()
    make = partial(make_crop, size=size, spacing=spacing)
    return write_decathlon(folder, "hippocampus", ["MRI"], LABELS, make, recipe)


def make_crop(rng: np.random.Generator, size: Sequence[int], spacing: Spacing) -> Pair:
    """Draw the crop of one person and its label map."""
    grid = sample_grid(rng, size, spacing)
    side = rng.choice([-1.0, 1.0])
    points = sample_head_points(rng, grid, steady=0.6)
    # `sample_head_points` shifts the head by (0, -3, 12) mm
    points += torch.tensor([side * CENTRE[0], CENTRE[1] - 3.0, CENTRE[2] + 12.0])[:, None, None, None]
    volume = torch.zeros(1, *grid.shape)
    canvas = Canvas(tuple(points), volume, 1.5)
    tissue = sample_tissue(rng, [T1])
    paint_brain(rng, canvas, tissue)
    labels = paint_hippocampus(rng, Canvas((side * points[0], *points[1:]), volume, 1.5), tissue)
    return to_nifti(mr_signal(rng, volume[0], grid.spacing, masked=False), grid), to_nifti(labels.numpy(), grid)


def paint_hippocampus(rng: np.random.Generator, canvas: Canvas, tissue: dict[str, torch.Tensor]) -> torch.Tensor:
    """Paint the right hippocampus with fluid above it and the amygdala in front; returns labels (X, Y, Z), uint8."""
    points, course = canvas.points, np.array(COURSE) + rng.normal(0.0, 1.0, (len(COURSE), 3))
    rough = smooth_field(rng, (14, 14, 14), points[0].shape)
    body = chain(points, course, (rng.uniform(0.85, 1.15) * np.array(GIRTH)).tolist()) + 0.5 * rough
    grey = tissue["grey"] * (1.08 + 0.06 * rough)
    canvas.paint(chain(points, course + np.array((4.0, 2.0, 4.0)), 2.0), tissue["csf"])
    canvas.paint(ellipsoid(points, course[0] + (-1.0, 9.0, 3.0), (9, 7, 8)), tissue["grey"] * 1.05)
    canvas.paint(chain(points, course + np.array((-5.0, 0.0, -8.0)), 3.5), tissue["grey"])
    canvas.paint(body, grey)
    border = course[2, 1] + rng.normal(3.0, 1.5)
    parts = torch.where(points[1] > border, 1, 2)
    return ((body < 0) * parts).to(torch.uint8)
