"""A set of generated T1-like heads as NIfTI files, for pretraining on volumes of the brain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tools.phantoms.anatomy import paint_head
from tools.phantoms.cases import for_each_case
from tools.phantoms.head import head_coordinates, sample_head
from tools.phantoms.scan import acquire, sample_scan, to_nifti, write_nifti
from tools.phantoms.store import write_once

VERSION = 1  # of the generator: raise it when the pictures change, so that stored ones are made anew


def brain_phantoms(
    folder: str,
    num_cases: int = 24,
    size: Sequence[int] = (96, 112, 96),
    spacing: float | Sequence[float] = 2.0,
    seed: int = 0,
) -> str:
    """Make a folder of generated heads (``head_000.nii.gz`` …) unless it is there already.

    Shape, spacing, orientation and position differ between cases, as they do between scans from several hospitals.

    Args:
        folder: where the files go.
        num_cases: number of heads.
        size: voxels along right, anterior, superior, on average.
        spacing: voxel size in mm, on average: one number, or one for each axis.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "brain", "version": VERSION, "num_cases": num_cases}
    recipe |= {
        "size": list(size),
        "spacing": np.asarray(spacing, float).tolist(),
        "seed": seed,
    }

    def write_case(target: Path, case: int) -> None:
        rng = np.random.default_rng((seed, case))
        head, scan = sample_head(rng), sample_scan(rng, size, spacing)
        volume = paint_head(head, head_coordinates(head, scan.shape, scan.spacing))
        write_nifti(to_nifti(acquire(volume, scan), scan), target / f"head_{case:03d}.nii.gz")

    def write(target: Path) -> None:
        for_each_case(partial(write_case, target), num_cases, "brain phantoms")

    return write_once(folder, write, json.dumps(recipe))
