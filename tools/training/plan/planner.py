"""Planner of spacing, crop size and batch size for a data set, an encoder and a memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.networks.cost import GIB
from tools.training.plan.fingerprint import Fingerprint
from tools.training.plan.sizes import choose_spacing, fit_to_memory, initial_edges, refine_spacing
from tools.training.plan.trial import Edges, Trial
from tools.transforms.geometry import check_spacing

STEP = 8  # crop edges are multiples of it
LARGEST = 256  # largest smallest crop that a task may need
BATCH_FRACTION = 0.05  # of the voxels of the data set that a batch may contain, as in nnU-Net


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
        spacing: spacing in mm: one number, or one per axis in RAS orientation.
        roi_size: edges of the crop in voxels.
        batch_size: largest batch size per process within the memory and `BATCH_FRACTION`, at least that of the run.
        limit: reason why it is not larger.
        memory_gib: memory of a training step of the run in float32.
        median_size: median number of voxels of prepared volumes.
        smallest_size: smallest number of voxels along each axis.
        too_small: number of sampled volumes with less than half of the crop along an axis.
    """

    spacing: float | list[float]
    roi_size: list[int]
    batch_size: int
    limit: str
    memory_gib: float
    median_size: list[int]
    smallest_size: list[int]
    too_small: int


def make_plan(
    fingerprint: Fingerprint,
    trial: Trial,
    gpu_memory_target: float,
    isotropic: bool = False,
    spacing: float | Sequence[float] | None = None,
    roi_size: Sequence[int] | None = None,
) -> Plan:
    """Plan spacing, crop size and batch size; arguments as for `plan_sizes`, with None for values to plan."""
    edges = Edges(trial, STEP, LARGEST)
    if spacing is None:
        target = choose_spacing(fingerprint.spacings, fingerprint.shapes, isotropic)
        if roi_size is None:
            target = refine_spacing(target, fingerprint.prepared_shapes(target), edges.smallest)
    else:
        target = list(check_spacing(spacing))
    sizes = fingerprint.prepared_shapes(target)
    median, budget = np.median(sizes, 0).tolist(), gpu_memory_target * GIB
    if roi_size is None:
        limits = [edges.below(2 * edge) for edge in sizes.min(0)]  # padding doubles an edge at most
        largest = [
            min(edges.above(edge), most) for edge, most in zip(initial_edges(target, median), limits, strict=True)
        ]
        roi_size, parts = fit_to_memory(largest, median, budget, edges.below, lambda size: _memory(trial, size))
    else:
        parts = _memory(trial, roi_size)
    crops = fingerprint.cases * math.prod(median) / math.prod(roi_size)
    batch_size, limit = _batch_size(trial.batch_size(), parts, budget, crops)
    return Plan(
        spacing=target[0] if len(set(target)) == 1 else target,
        roi_size=list(roi_size),
        batch_size=batch_size,
        limit=limit,
        memory_gib=sum(parts) / GIB,
        median_size=[round(edge) for edge in median],
        smallest_size=sizes.min(0).tolist(),
        too_small=int((2 * sizes < np.array(roi_size)).any(1).sum()),
    )


def _memory(trial: Trial, roi_size: Sequence[int]) -> tuple[int, int]:
    trial.set_roi_size(roi_size)
    return trial.memory()


def _batch_size(batch_size: int, parts: tuple[int, int], budget: float, crops: float) -> tuple[int, str]:
    """Return the largest batch size, at least `batch_size`, for which `parts` is the memory, and what limits it.

    Args:
        batch_size: batch size of the run.
        parts: bytes that do not depend on the batch size, and those that do.
        budget: memory in bytes.
        crops: voxels of the data set as a multiple of those of a crop.
    """
    fixed, kept = parts
    limits = {
        "the memory": (budget - fixed) * batch_size / kept,
        f"{100 * BATCH_FRACTION:g} % of the voxels of the data set": BATCH_FRACTION * crops,
    }
    limit = min(limits, key=limits.__getitem__)
    return max(batch_size, int(limits[limit])), limit
