"""A set of generated abdomens in CT, laid out as the Decathlon's Task07_Pancreas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tools.phantoms.abdomen import abdomen_coordinates, sample_abdomen
from tools.phantoms.abdomen_painting import AIR, paint_abdomen
from tools.phantoms.cases import for_each_case
from tools.phantoms.decathlon import write_dataset_json
from tools.phantoms.fields import blur
from tools.phantoms.scan import Scan, sample_scan, to_nifti, write_nifti
from tools.phantoms.store import write_once

VERSION = 2  # of the generator: raise it when the pictures change, so that stored ones are made anew
LABELS = ("background", "pancreas", "cancer")
NOISE = 12.0  # HU


def pancreas_phantoms(
    folder: str,
    num_cases: int = 24,
    size: Sequence[int] = (80, 64, 56),
    spacing: float | Sequence[float] = 4.0,
    seed: int = 0,
) -> str:
    """Make a Decathlon folder of generated abdomens with a pancreatic tumour each unless it is there already.

    Stomach wall, bowel and unopacified content have the Hounsfield units of the pancreas: place and shape decide.
    Labels are 1 pancreas, 2 cancer. Shape, spacing, orientation and position differ between cases.

    Args:
        folder: where the files go.
        num_cases: number of abdomens.
        size: voxels along right, anterior, superior, on average.
        spacing: voxel size in mm, on average: one number, or one for each axis.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "pancreas", "version": VERSION, "num_cases": num_cases}
    recipe |= {
        "size": list(size),
        "spacing": np.asarray(spacing, float).tolist(),
        "seed": seed,
    }
    names = [f"pancreas_{case:03d}.nii.gz" for case in range(1, num_cases + 1)]

    def write_case(target: Path, case: int) -> None:
        rng = np.random.default_rng((seed, case))
        abdomen, scan = sample_abdomen(rng), sample_scan(rng, size, spacing)
        points = abdomen_coordinates(abdomen, scan.shape, scan.spacing)
        volume, labels = paint_abdomen(abdomen, points, edge=max(scan.spacing))
        for place, array in (("imagesTr", _scanned(volume, scan)), ("labelsTr", labels.numpy())):
            write_nifti(to_nifti(array, scan), target / place / names[case])

    def write(target: Path) -> None:
        write_dataset_json(target, "Pancreas", ["CT"], LABELS, names)
        for_each_case(partial(write_case, target), num_cases, "pancreas phantoms")

    return write_once(folder, write, json.dumps(recipe))


def _scanned(volume: torch.Tensor, scan: Scan) -> np.ndarray:
    """What a CT scanner stores: blurred HU with noise that neighbouring voxels share a little, int16."""
    signal = blur(volume, [scan.blur / s for s in scan.spacing])
    noise = np.random.default_rng(scan.noise_seed).standard_normal(tuple(volume.shape), dtype=np.float32)
    grain = blur(torch.from_numpy(noise), 0.5)
    return (signal + NOISE / float(grain.std()) * grain).round().clamp(AIR - 24, 3071).to(torch.int16).numpy()
