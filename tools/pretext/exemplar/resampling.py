"""Resampling of images under linear transforms about their centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def resample(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Resample each image under V linear transforms about its centre, with linear interpolation and reflection padding.

    Args:
        images: (B, C, *spatial).
        matrices: (B, V, dims, dims), map voxel coordinates of a view to the image, both from the centre.

    Returns:
        (B, V, C, *spatial).
    """
    size, views = images.shape[2:], matrices.shape[1]
    points = _sampling_points(matrices, size)
    points = points.clamp(-1, 1).mul_(2).sub_(points)  # reflection, in half the time of grid_sample's
    points = points.flatten(1, 2)  # concatenate the views along the first axis
    sampled = F.grid_sample(images.float(), points, padding_mode="border", align_corners=False)
    return sampled.to(images.dtype).unflatten(2, (views, size[0])).movedim(2, 1)


def _sampling_points(matrices: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Return a grid for `torch.nn.functional.grid_sample`: (B, V, *size, dims), from -1 to 1, last axis first.

    The sum of one term per axis takes a third of the time of `torch.nn.functional.affine_grid`.
    """
    extent = torch.tensor(size, dtype=matrices.dtype).to(matrices.device, non_blocking=True)
    scaled = (matrices * extent / extent[:, None]).flip(-2)
    points: torch.Tensor | float = 0.0
    for axis in reversed(range(len(size))):
        line = (2 * torch.arange(size[axis], device=matrices.device) + 1) / size[axis] - 1
        term = line[:, None] * scaled[..., None, :, axis]
        shape = [1] * len(size)
        shape[axis] = size[axis]
        points = points + term.reshape(*matrices.shape[:2], *shape, len(size))
    return points
