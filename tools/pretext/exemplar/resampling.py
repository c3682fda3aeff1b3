"""Linear maps of images about their centre, sampled linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def resample(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Sample V linear maps of each image about its centre with linear interpolation, reflecting once at the borders.

    Args:
        images: (B, C, *spatial).
        matrices: (B, V, dims, dims), from voxels of a view to voxels of the image, axes in the order of the image.

    Returns:
        (B, V, C, *spatial).
    """
    size, views = images.shape[2:], matrices.shape[1]
    points = _sampling_points(matrices, size)
    points = points.clamp(-1, 1).mul_(2).sub_(points)  # 2 - x above 1: grid_sample's own reflection is twice as slow
    points = points.flatten(1, 2)  # the views of an image along the first axis
    found = F.grid_sample(images.float(), points, padding_mode="border", align_corners=False)
    return found.to(images.dtype).unflatten(2, (views, size[0])).movedim(2, 1)


def _sampling_points(matrices: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Coordinates for `torch.nn.functional.grid_sample`: (B, V, *size, dims), from -1 to 1, last axis first.

    A sum of one term per axis. `torch.nn.functional.affine_grid` multiplies matrices and takes three times as long.
    """
    extent = torch.tensor(size, dtype=matrices.dtype).to(matrices.device, non_blocking=True)
    scaled = (matrices * extent / extent[:, None]).flip(-2)
    points: torch.Tensor | float = 0.0
    for axis in reversed(range(len(size))):
        line = (2 * torch.arange(size[axis], device=matrices.device) + 1) / size[axis] - 1
        term = line[:, None] * scaled[..., None, :, axis]
        places = [1] * len(size)
        places[axis] = size[axis]
        points = points + term.reshape(*matrices.shape[:2], *places, len(size))
    return points
