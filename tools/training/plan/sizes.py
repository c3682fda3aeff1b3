"""Rules of nnU-Net's planner for spacing and crop size (Isensee et al., Nature Methods 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

#: ratio of spacings, and of numbers of voxels, above which an axis has a low resolution
ANISOTROPY = 3
LOW_RESOLUTION_PERCENTILE = 10
DIGITS = 3  # significant digits of a planned spacing
INITIAL_VOXELS = 256**3  # of the largest crop
MAX_COUNTS = 5  # training steps whose memory is computed
FIRST_VOXELS = 64**3  # of the first of these steps


def choose_spacing(spacings: np.ndarray, shapes: np.ndarray, isotropic: bool = False) -> list[float]:
    """Choose the spacing of resampled volumes.

    It is the median of each axis. The coarsest axis has the 10th percentile instead, but not less than the other axes,
    if its median spacing exceeds three times that of the others, and its median number of voxels is below a third.

    Args:
        spacings: spacing of each volume (N, 3) in mm.
        shapes: number of voxels of each volume (N, 3).
        isotropic: whether all axes must have the same spacing: the geometric mean.

    Returns:
        Spacing of each axis in mm, with `DIGITS` significant digits.
    """
    chosen, edges = np.median(spacings, 0), np.median(shapes, 0)
    coarsest = int(chosen.argmax())
    others = [axis for axis in range(3) if axis != coarsest]
    finer = chosen[others].max()
    if chosen[coarsest] > ANISOTROPY * finer and ANISOTROPY * edges[coarsest] < edges[others].min():
        chosen[coarsest] = max(np.percentile(spacings[:, coarsest], LOW_RESOLUTION_PERCENTILE), finer)
    if isotropic:
        chosen[:] = math.exp(np.log(chosen).mean())
    return [float(f"{edge:.{DIGITS}g}") for edge in chosen]


def refine_spacing(spacing: Sequence[float], sizes: np.ndarray, smallest: int) -> list[float]:
    """Refine a spacing if volumes are smaller than half of the smallest crop, to which padding cannot extend them.

    Args:
        spacing: spacing of each axis in mm.
        sizes: number of voxels of each volume at this spacing: (N, 3).
        smallest: smallest edge of a crop.

    Returns:
        The spacing, or a finer one with the same ratios, at which the median volume contains the smallest crop.
    """
    factor = float(np.median(sizes, 0).min()) / smallest
    if factor >= 1 or 2 * sizes.min() >= smallest:
        return list(spacing)
    return [float(f"{edge * factor:.{DIGITS}g}") for edge in spacing]


def initial_edges(spacing: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Return the edges of the largest crop: a cube in mm with `INITIAL_VOXELS`, and at most the median volume.

    Args:
        spacing: spacing of each axis in mm.
        edges: median number of voxels at this spacing.
    """
    scale = (INITIAL_VOXELS * math.prod(spacing)) ** (1 / 3)
    return [min(scale / size, edge) for size, edge in zip(spacing, edges, strict=True)]


def shrink(
    size: Sequence[int], edges: Sequence[float], voxels: float, below: Callable[[float], int]
) -> tuple[int, ...]:
    """Shorten a crop, always along the axis where it covers most of the median volume.

    Args:
        size: edges of the crop.
        edges: median number of voxels.
        voxels: largest number of voxels of the crop.
        below: function that returns the largest possible edge up to a value, or the smallest possible edge.

    Returns:
        The largest such crop with at most `voxels`, or the smallest possible one.
    """
    size = list(size)
    while math.prod(size) > voxels:
        order = sorted(range(len(size)), key=lambda axis: (size[axis] / edges[axis], size[axis], axis), reverse=True)
        shorter = next(((axis, edge) for axis in order if (edge := below(size[axis] - 1)) < size[axis]), None)
        if shorter is None:
            break
        size[shorter[0]] = shorter[1]
    return tuple(size)


def fit_to_memory(
    size: Sequence[int],
    edges: Sequence[float],
    budget: float,
    below: Callable[[float], int],
    memory: Callable[[Sequence[int]], tuple[int, int]],
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shorten a crop until a training step fits into memory.

    The memory that the backward pass keeps is proportional to the number of voxels for large crops, so few training
    steps are computed.

    Args:
        size: edges of the largest crop.
        edges: median number of voxels.
        budget: memory in bytes.
        below: see `shrink`.
        memory: function that returns the bytes of a training step that do not depend on the crop, and those that do.

    Returns:
        The largest crop that fits, or else the smallest possible one, and its memory.
    """
    latest = shrink(size, edges, FIRST_VOXELS, below)
    counted: dict[tuple[int, ...], tuple[int, int]] = {}
    while latest not in counted and len(counted) < MAX_COUNTS:
        fixed, kept = counted[latest] = memory(latest)
        latest = shrink(size, edges, max(budget - fixed, 0) * math.prod(latest) / kept, below)
    fitting = [one for one, parts in counted.items() if sum(parts) <= budget]
    chosen = max(fitting, key=math.prod) if fitting else min(counted, key=math.prod)
    return chosen, counted[chosen]
