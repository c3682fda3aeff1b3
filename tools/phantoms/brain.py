"""A set of generated T1-like heads as NIfTI files, for pretraining on volumes of the brain."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from tools.phantoms.canvas import Canvas
from tools.phantoms.head import paint_head, sample_head_points, sample_tissue
from tools.phantoms.scans import Spacing, mr_signal, sample_grid, to_nifti, write_nifti
from tools.phantoms.store import write_cases

VERSION = 3  # of the generator: a change of the images needs a new number, so that stored sets are written again

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

    Shape, spacing, orientation and position differ between cases, as they do between scans from several hospitals.

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


def make_head(rng: np.random.Generator, size: Sequence[int], spacing: Spacing) -> nib.Nifti1Image:
    """Draw the scan of one person."""
    grid = sample_grid(rng, size, spacing)
    volume = torch.zeros(1, *grid.shape)
    paint_head(rng, Canvas(tuple(sample_head_points(rng, grid)), volume, 2.0), sample_tissue(rng, [T1]))
    return to_nifti(mr_signal(rng, volume[0], grid.spacing, masked=bool(rng.random() < 0.5)), grid)
