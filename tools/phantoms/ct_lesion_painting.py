"""A slab of a trunk with lesions and tubes, painted slice by slice as a scanner takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tools.phantoms.ct_lesion import HARMONICS, Blob
from tools.phantoms.fields import blur, smooth_field
from tools.phantoms.shapes import Canvas

GRAIN = 6.0  # Hounsfield units that tissue varies by


@dataclass(frozen=True)
class Scanner:
    """How slices are taken.

    Attributes:
        spacing: edge of a pixel in mm.
        interval: between slices, in mm; also about their thickness.
        blur: sigma of the point spread in plane, in mm.
        noise: standard deviation in Hounsfield units.
        grain: coarse noise (1, 2, 12, 12), unevenness of the tissue.
        seed: of the noise.
    """

    spacing: float
    interval: float
    blur: float
    noise: float
    grain: np.ndarray
    seed: int

    @property
    def planes(self) -> int:
        """How many planes a slice is averaged from."""
        return 3 if self.interval > 3 else 1


def sample_scanner(rng: np.random.Generator, interval: float) -> Scanner:
    """Draw a scanner; thin slices are noisier."""
    return Scanner(
        spacing=round(float(rng.uniform(0.8, 1.2)), 6),
        interval=interval,
        blur=float(rng.uniform(0.5, 0.85)),
        noise=float(rng.uniform(7.0, 13.0)) * (1.5 if interval < 2 else 1.0),
        grain=rng.standard_normal((1, 2, 12, 12), dtype=np.float32),
        seed=int(rng.integers(2**31)),
    )


def slab_grid(scanner: Scanner, before: int, after: int, size: int) -> torch.Tensor:
    """Coordinates (3, D, H, W) along z, y and x of every voxel about the middle of the key slice, in mm.

    z points to the head, and slices run from head to feet, as they are numbered in DeepLesion.

    Args:
        scanner: how slices are taken.
        before: number of slices before the key slice.
        after: and behind it.
        size: edge of a slice in pixels.
    """
    planes = (torch.arange(scanner.planes, dtype=torch.float32) - (scanner.planes - 1) / 2) / scanner.planes
    z = -(torch.arange(-before, after + 1, dtype=torch.float32)[:, None] + planes).flatten() * scanner.interval
    line = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * scanner.spacing
    return torch.stack(torch.meshgrid(z, line, line, indexing="ij"))


def paint_blobs(volume: torch.Tensor, blobs: Sequence[Blob], grid: torch.Tensor) -> None:
    """Paint bodies over Hounsfield units (D, H, W)."""
    canvas = Canvas(grid)
    canvas.volume = volume
    for blob in blobs:
        block = canvas.region(*_corners(blob, grid[0, :, 0, 0].numpy()))
        if canvas.volume[block].numel():
            canvas.edge = blob.edge
            distance = blob_distance(canvas, block, blob)
            inside = (-distance / blob.radius).clamp(0, 1)
            canvas.paint(block, distance, blob.units + blob.core * (2 * inside).clamp(max=1))


def _corners(blob: Blob, z: np.ndarray) -> tuple[list[float], list[float]]:
    """Two corners of a box around a blob, as far as the slab reaches."""
    margin = 1.5 * blob.axes[0] + 3
    reach = z - blob.centre[0]
    reach = reach[np.abs(reach) <= 1.5 * blob.depth + 3]
    if not len(reach):
        reach = np.zeros(1)
    path = blob.centre[1:] + reach[:, None] * blob.tilt + reach[:, None] ** 2 * blob.bend
    low, high = path.min(0) - margin, path.max(0) + margin
    return [blob.centre[0] + reach.min() - 0.1, *low.tolist()], [blob.centre[0] + reach.max() + 0.1, *high.tolist()]


def blob_distance(canvas: Canvas, block: tuple[slice, slice, slice], blob: Blob) -> torch.Tensor:
    """Approximate distance (mm, negative inside) of a block's voxels to a blob."""
    z, y, x = (p - float(c) for p, c in zip(canvas.at(block), blob.centre, strict=True))
    y = y - z * float(blob.tilt[0]) - z * z * float(blob.bend[0])
    x = x - z * float(blob.tilt[1]) - z * z * float(blob.bend[1])
    sine, cosine = float(np.sin(blob.angle)), float(np.cos(blob.angle))
    u, v = (y * sine + x * cosine) / blob.axes[0], (y * cosine - x * sine) / blob.axes[1]
    turn = torch.atan2(v, u) + blob.twist * z
    strength, phase = blob.waves.tolist()
    waves = sum(s * torch.cos(k * turn + p) for k, s, p in zip(HARMONICS.tolist(), strength, phase, strict=True))
    flat, norm = u * u + v * v, u * u + v * v + (z / blob.depth) ** 2
    return (norm.sqrt() - 1 - waves * flat / norm.clamp(min=1e-6)) * blob.radius


def scan_slab(volume: torch.Tensor, scanner: Scanner) -> np.ndarray:
    """What a scanner stores of painted Hounsfield units: blurred, averaged over the slice, noisy; int16 (S, H, W)."""
    grain = smooth_field(scanner.grain, volume.shape)[0]
    volume = volume + GRAIN * grain * (volume > -300)
    slices = volume.unflatten(0, (-1, scanner.planes)).mean(1)
    width = scanner.blur / scanner.spacing
    slices = blur(slices, (0.4 if scanner.interval < 2 else 1e-3, width, width))
    noise = np.random.default_rng(scanner.seed).standard_normal(tuple(slices.shape), dtype=np.float32)
    noise = blur(torch.from_numpy(noise), (1e-3, 0.6, 0.6))
    slices += scanner.noise / float(noise.numpy().std()) * noise
    return slices.round().clamp(-1024, 3071).to(torch.int16).numpy()
