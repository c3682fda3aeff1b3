"""Smooth random fields and blur, from arrays of white noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool3d, grid_sample, interpolate, pad


def smooth_field(noise: np.ndarray, shape: Sequence[int]) -> torch.Tensor:
    """Stretch coarse noise (channels, X', Y', Z') smoothly over a grid of `shape`; returns (channels, X, Y, Z)."""
    coarse = torch.from_numpy(noise)[None]
    fine = interpolate(coarse, scale_factor=4, mode="trilinear", align_corners=True)
    fine = avg_pool3d(pad(fine, (2, 2) * 3, mode="replicate"), 5, stride=1)  # takes the kinks out
    return interpolate(fine, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def band_noise(noise: np.ndarray) -> torch.Tensor:
    """Keep the middle frequencies of white noise (X, Y, Z): blobs of about 3 cells; standard deviation 1."""
    volume = torch.from_numpy(noise)
    band = blur(volume, 1.0) - blur(volume, 2.0)
    return band / float(band.numpy().std())


def sample_field(field: torch.Tensor, points: Sequence[torch.Tensor], extent: float) -> torch.Tensor:
    """Read a field (X, Y, Z) that covers the cube from -extent to extent (mm), at points given per axis (any shape)."""
    grid = torch.stack(tuple(reversed(tuple(points))), dim=-1)[None] / extent
    return grid_sample(field[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]


def blur(volume: torch.Tensor, sigma: float | Sequence[float]) -> torch.Tensor:
    """Blur a volume (X, Y, Z) with a Gaussian of sigma voxels, one for all axes or one per axis."""
    sigmas = [sigma] * 3 if isinstance(sigma, float) else list(sigma)
    for axis, width in enumerate(sigmas):
        radius = max(1, round(2.5 * width))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(width, 1e-3)) ** 2)
        edges = [0, 0] * (2 - axis) + [radius, radius] + [0, 0] * axis
        padded = pad(volume[None, None], edges, mode="replicate")[0, 0]
        size = volume.shape[axis]
        volume = sum(padded.narrow(axis, i, size) * float(w) for i, w in enumerate(weights / weights.sum()))
    return volume
