"""A set of generated heads with tumours, laid out as the Decathlon's Task01_BrainTumour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.utils import ensure_tuple_rep

from tools.phantoms.anatomy import EVERYWHERE, brain_distance, paint_head
from tools.phantoms.cases import for_each_case
from tools.phantoms.decathlon import write_dataset_json
from tools.phantoms.glioma import CONTRASTS, displace, grow, sample_glioma, seen_as, show
from tools.phantoms.head import head_coordinates, sample_head
from tools.phantoms.scan import acquire, sample_scan, to_nifti, write_nifti
from tools.phantoms.shapes import Canvas
from tools.phantoms.store import write_once

VERSION = 2  # of the generator: raise it when the pictures change, so that stored ones are made anew
LABELS = ("background", "edema", "non-enhancing tumor", "enhancing tumour")


def brats_phantoms(
    folder: str,
    num_cases: int = 24,
    size: Sequence[int] = (60, 72, 54),
    spacing: float | Sequence[float] = 2.75,
    seed: int = 0,
) -> str:
    """Make a Decathlon folder of generated brains with gliomas unless it is there already.

    As in BraTS, brains are cut out of their heads, all lie on one grid, and four contrasts (FLAIR, T1w, t1gd, T2w) make
    the channels of one file. Labels are 1 oedema, 2 core without enhancement, 3 enhancing tumour.

    Args:
        folder: where the files go.
        num_cases: number of brains.
        size: voxels along right, anterior, superior.
        spacing: voxel size in mm: one number, or one for each axis.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "brats", "version": VERSION, "num_cases": num_cases}
    recipe |= {
        "size": list(size),
        "spacing": np.asarray(spacing, float).tolist(),
        "seed": seed,
    }
    names = [f"BRATS_{case:03d}.nii.gz" for case in range(1, num_cases + 1)]

    def write_case(target: Path, case: int) -> None:
        image, label = _make(np.random.default_rng((seed, case)), size, spacing)
        for place, file in (("imagesTr", image), ("labelsTr", label)):
            write_nifti(file, target / place / names[case])

    def write(target: Path) -> None:
        write_dataset_json(target, "BRATS", list(CONTRASTS), LABELS, names)
        for_each_case(partial(write_case, target), num_cases, "brats phantoms")

    return write_once(folder, write, json.dumps(recipe))


def _make(
    rng: np.random.Generator, size: Sequence[int], spacing: float | Sequence[float]
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    head, glioma, scan = sample_head(rng), sample_glioma(rng), sample_scan(rng, size, spacing)
    # BraTS moves all brains onto a template: the middle of the brain in the middle of the grid, hardly any tilt.
    head = replace(head, shift=np.array([0.0, 3.0, -9.0]) + 0.3 * head.shift, angles=0.3 * head.angles)
    scan = replace(
        scan,
        shape=tuple(size),
        spacing=ensure_tuple_rep(spacing, 3),
        orientation="LPS",
        origin=np.zeros(3),
        masked=True,
    )
    noise = rng.integers(2**31, size=len(CONTRASTS))
    gains = np.exp(rng.uniform(np.log(150), np.log(2000), len(CONTRASTS)))
    coordinates = head_coordinates(head, scan.shape, scan.spacing)
    points = Canvas(coordinates).at(EVERYWHERE)
    brain = brain_distance(points) < -1.0  # the skull stays where it is
    coordinates = displace(glioma, coordinates)
    pushed = Canvas(coordinates).at(EVERYWHERE)
    healthy = {contrast: paint_head(seen_as(head, glioma, contrast), coordinates) for contrast in CONTRASTS}
    white = ((healthy["T1w"] - 0.5) / 0.15).clamp(0, 1)
    labels = grow(glioma, points, pushed, white, brain)
    shown = show(glioma, healthy, labels, pushed)
    channels = [
        acquire(shown[contrast] * brain, replace(scan, gain=float(gain), noise_seed=int(number)))
        for contrast, gain, number in zip(CONTRASTS, gains, noise, strict=True)
    ]
    label = to_nifti(labels.numpy(), scan)
    return nib.Nifti1Image(np.stack([np.asarray(to_nifti(c, scan).dataobj) for c in channels], -1), label.affine), label
