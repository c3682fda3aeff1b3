"""How a painted head becomes a file: scanner, noise, orientation."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.utils import ensure_tuple_rep

from tools.phantoms.fields import blur, smooth_field

_ORIENTATIONS = ("RAS", "RAS", "LPS", "LAS", "PIR", "ASL")


@dataclass(frozen=True)
class Scan:
    """How a head was scanned and stored.

    Attributes:
        shape: voxels along right, anterior, superior.
        spacing: voxel size along these axes, in mm.
        orientation: axis codes of the stored array.
        origin: position of the middle of the field of view in the scanner, in mm.
        bias: coarse noise (1, 4, 4, 4), the uneven sensitivity of the coil.
        bias_strength: its standard deviation.
        blur: sigma of the point spread, in mm.
        noise: standard deviation of the noise, brightest tissue 1.
        noise_seed: seed of the noise.
        gain: stored number for brightness 1.
        masked: whether the air around the head was set to zero.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    origin: np.ndarray
    bias: np.ndarray
    bias_strength: float
    blur: float
    noise: float
    noise_seed: int
    gain: float
    masked: bool


def sample_scan(rng: np.random.Generator, size: Sequence[int], spacing: float | Sequence[float]) -> Scan:
    """Draw a scan with about `size` voxels (right, anterior, superior) of about `spacing` mm."""
    edges = ensure_tuple_rep(spacing, 3)
    spacings = tuple(round(edge * v, 3) for edge, v in zip(edges, rng.uniform(0.9, 1.1, 3), strict=True))
    margin = rng.uniform(0.98, 1.04, 3)
    return Scan(
        shape=tuple(round(n * edge / s * m) for n, edge, s, m in zip(size, edges, spacings, margin, strict=True)),
        spacing=spacings,
        orientation=_ORIENTATIONS[rng.integers(len(_ORIENTATIONS))],
        origin=rng.uniform(-20.0, 20.0, 3),
        bias=rng.standard_normal((1, 4, 4, 4), dtype=np.float32),
        bias_strength=rng.uniform(0.05, 0.15),
        blur=rng.uniform(0.4, 1.0),
        noise=rng.uniform(0.01, 0.03),
        noise_seed=int(rng.integers(2**31)),
        gain=float(np.exp(rng.uniform(np.log(150), np.log(3000)))),
        masked=bool(rng.random() < 0.5),
    )


def acquire(volume: torch.Tensor, scan: Scan) -> np.ndarray:
    """Turn painted brightness (X, Y, Z) into what the scanner stores: int16 (X, Y, Z), not yet reoriented."""
    inside = volume > 0
    signal = blur(volume, [scan.blur / s for s in scan.spacing])
    signal = signal * (scan.bias_strength * smooth_field(scan.bias, volume.shape)[0]).exp()
    noise = np.random.default_rng(scan.noise_seed).standard_normal((2, *volume.shape), dtype=np.float32)
    real, imaginary = torch.from_numpy(noise) * scan.noise
    signal = ((signal + real) ** 2 + imaginary**2).sqrt()
    if scan.masked:
        signal = signal * inside
    return (signal * scan.gain).round().clamp(0, 32767).to(torch.int16).numpy()


def to_nifti(array: np.ndarray, scan: Scan) -> nib.Nifti1Image:
    """Store a RAS array (X, Y, Z) in the scan's orientation, with the affine that says so."""
    affine = np.diag([*scan.spacing, 1.0])
    affine[:3, 3] = scan.origin - (np.array(scan.shape) - 1) / 2 * scan.spacing
    wanted = nib.orientations.axcodes2ornt(scan.orientation)
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted)
    return nib.Nifti1Image(array, affine).as_reoriented(turn)


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a compressed file; the same image gives the same bytes."""
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
