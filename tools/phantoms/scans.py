"""Scanners of the generated volumes: grids, positions, MR and CT signals, NIfTI files, Decathlon folders."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.utils import ensure_tuple_rep
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from tools.phantoms.canvas import blur, noise, smooth_field
from tools.phantoms.store import write_cases

_ORIENTATIONS = ("RAS", "RAS", "LPS", "LAS", "PIR", "ASL")
Pair = tuple[nib.Nifti1Image, nib.Nifti1Image]
Maker = Callable[[Generator], Pair]
Spacing = float | Sequence[float]  # in mm: one number, or one for each axis


class Grid(NamedTuple):
    """Voxel grid along right, anterior, superior: shape, spacing and middle in mm, axis codes of the stored array."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    origin: np.ndarray


def sample_grid(rng: Generator, size: Sequence[int], spacing: Spacing) -> Grid:
    """Draw a grid of about `size` voxels (right, anterior, superior) of about `spacing` mm."""
    edges = ensure_tuple_rep(spacing, 3)
    spacings = tuple(round(edge * v, 3) for edge, v in zip(edges, rng.uniform(0.9, 1.1, 3), strict=True))
    margin = rng.uniform(0.98, 1.04, 3)
    shape = tuple(round(n * edge / s * m) for n, edge, s, m in zip(size, edges, spacings, margin, strict=True))
    return Grid(shape, spacings, str(rng.choice(_ORIENTATIONS)), rng.uniform(-20.0, 20.0, 3))


def sample_points(
    rng: Generator, grid: Grid, scale: np.ndarray, shift: np.ndarray, warp: float, angles: Sequence[float] = (0, 0, 0)
) -> torch.Tensor:
    """Coordinates (3, X, Y, Z) in mm of every voxel in the common anatomy: x right, y forwards, z upwards.

    The body is scaled, shifted from the centre of the grid by `shift` mm, and rotated by `angles` (radians) about x, y
    and z. It is smoothly deformed by about `warp` mm.
    """
    turn = Rotation.from_euler("xyz", angles).as_matrix().T / np.asarray(scale)[:, None]
    x, y, z = (
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s - float(o)
        for n, s, o in zip(grid.shape, grid.spacing, shift, strict=True)
    )
    points = torch.stack([smooth_field(rng, (6, 6, 6), grid.shape) for _ in range(3)]).mul_(warp)
    for row, (a, b, c) in enumerate(turn.tolist()):
        points[row] += a * x[:, None, None] + b * y[:, None] + c * z
    return points


def mr_signal(rng: Generator, volume: torch.Tensor, spacing: Sequence[float], masked: bool) -> np.ndarray:
    """Simulate an MR image (int16) of brightness (X, Y, Z), about 0 to 1: blur, coil, Rician noise and gain.

    The air around the body, of brightness 0, is set to zero if `masked`.
    """
    width, strength, spread = rng.uniform((0.4, 0.05, 0.01), (1.0, 0.15, 0.03))
    signal = blur(volume, [width / s for s in spacing])
    signal = signal * (strength * smooth_field(rng, (4, 4, 4), volume.shape)).exp()
    gain = np.exp(rng.uniform(np.log(150), np.log(3000)))
    real, imaginary = torch.from_numpy(spread * rng.standard_normal((2, *volume.shape), dtype=np.float32)).float()
    signal = ((signal + real) ** 2 + imaginary**2).sqrt() * ((volume > 0) | (not masked))
    return (signal * float(gain)).round().clamp(0, 32767).to(torch.int16).numpy()


def ct_signal(rng: Generator, volume: torch.Tensor, spacing: Sequence[float], spread: float) -> np.ndarray:
    """Simulate a CT image of Hounsfield units (X, Y, Z): blur and correlated noise of `spread` HU; int16."""
    signal = blur(volume, [rng.uniform(0.4, 1.0) / s for s in spacing]) + spread * noise(rng, volume.shape, 0.5)
    return signal.round().clamp(-1024, 3071).to(torch.int16).numpy()


def to_nifti(array: np.ndarray, grid: Grid) -> nib.Nifti1Image:
    """Store a RAS array (X, Y, Z) or (X, Y, Z, C) in the grid's orientation."""
    affine = np.diag([*grid.spacing, 1.0])
    affine[:3, 3] = grid.origin - (np.array(grid.shape) - 1) / 2 * grid.spacing
    wanted = nib.orientations.axcodes2ornt(grid.orientation)
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted)
    return nib.Nifti1Image(array, affine).as_reoriented(turn)


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a compressed file; the same image gives the same bytes."""
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def write_decathlon(
    folder: str, name: str, modalities: Sequence[str], labels: Sequence[str], make: Maker, recipe: dict[str, object]
) -> str:
    """Write a folder in the layout of the Medical Segmentation Decathlon unless it exists.

    `make` draws image and label map of a case; `recipe` holds the settings with "seed" and "num_cases"; `labels` are
    the names of the label values from 0.
    """
    places = ("imagesTr", "labelsTr")
    files = [f"{name}_{case:03d}.nii.gz" for case in range(1, int(recipe["num_cases"]) + 1)]

    def write_case(target: Path, case: int) -> None:
        images = make(np.random.default_rng((recipe["seed"], case)))
        for place, image in zip(places, images, strict=True):
            write_nifti(image, target / place / files[case])

    def finish(target: Path, _: list) -> None:
        content = {
            "name": name,
            "description": "generated phantoms in the layout of the Medical Segmentation Decathlon",
            "modality": dict(enumerate(modalities)),
            "labels": dict(enumerate(labels)),
            "numTraining": len(files),
            "numTest": 0,
            "training": [{"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"} for file in files],
            "test": [],
        }
        (target / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    return write_cases(folder, recipe, write_case, len(files), finish, places)
