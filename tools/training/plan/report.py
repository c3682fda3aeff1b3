"""Lines that describe a fingerprint and a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.training.plan.fingerprint import Fingerprint
from tools.training.plan.planner import Plan

MAX_LINES = 10


def describe_fingerprint(fingerprint: Fingerprint) -> list[str]:
    """Return a table of shapes, spacings and intensities, and the volumes that cannot be read."""
    read, bad = len(fingerprint.volumes), fingerprint.unreadable
    lines = [f"fingerprint of {read} of {fingerprint.cases} scans, axes right, anterior, superior:"]
    lines.append(f"  {'':14}  {'smallest':>22}  {'median':>22}  {'largest':>22}")
    rows = {
        "voxels": fingerprint.shapes,
        "spacing (mm)": fingerprint.spacings,
        "size (mm)": fingerprint.shapes * fingerprint.spacings,
    }
    for name, values in rows.items():
        cells = (spell(one) for one in (values.min(0), np.median(values, 0), values.max(0)))
        lines.append(f"  {name:14}  " + "  ".join(f"{cell:>22}" for cell in cells))
    for number, (low, middle, high) in enumerate(fingerprint.intensities()):
        lines.append(
            f"  foreground of channel {number}: median {middle:.4g}, 99 % of the voxels {low:.4g} to {high:.4g}"
        )
    if bad:
        lines.append(f"{len(bad)} of {read + len(bad)} sampled scans cannot be read:")
        lines += [f"  {case}: {reason}" for case, reason in list(bad.items())[:MAX_LINES]]
        lines += [f"  and {len(bad) - MAX_LINES} more"] * (len(bad) > MAX_LINES)
    return lines


def describe_plan(plan: Plan, settings: Mapping[str, Any], gpu_memory_target: float) -> list[str]:
    """Return the planned values with their reasons, and the arguments of the command line to use them."""
    size, batch_size = plan.roi_size, settings["batch_size"]
    covered = np.prod([min(1, a / b) for a, b in zip(size, plan.median_size, strict=True)])
    spacing = f"{spell_value(plan.spacing)} mm; the median scan then has {spell(plan.median_size)} voxels"
    memory = f"{plan.memory_gib:.1f} of {gpu_memory_target:g} GiB with batch size {batch_size} in float32"
    lines = [
        f"plan for encoder {settings['encoder']}:",
        f"  spacing      {spacing}, the smallest {spell(plan.smallest_size)}",
        f"  roi_size     {spell(size)} voxels, {100 * covered:.0f} % of the median scan",
        f"  memory       {memory}; mixed precision needs about half",
        f"  batch_size   up to {plan.batch_size}, limited by {plan.limit}",
    ]
    if plan.memory_gib > gpu_memory_target:
        lines.append("warning: the smallest crop needs more memory than the target; use a smaller --batch_size")
    if plan.too_small:
        lines.append(
            f"warning: {plan.too_small} of the sampled scans are smaller than half of the crop along an axis; use a "
            "finer --spacing, or --skip_bad True"
        )
    lines.append(f"use it: {' '.join(arguments(plan))}")
    return lines


def arguments(plan: Plan) -> list[str]:
    """Return the arguments of the command line for a plan."""
    spacing = f'"{spell_value(plan.spacing)}"' if isinstance(plan.spacing, list) else plan.spacing
    return [f"--spacing {spacing}", f'--roi_size "{spell_value(plan.roi_size)}"', f"--batch_size {plan.batch_size}"]


def spell(values: Sequence[float]) -> str:
    """Format the values of the axes: ``1 x 1 x 2.5``."""
    return " x ".join(f"{value:.4g}" for value in values)


def spell_value(value: float | Sequence[float]) -> str:
    """Format a value as on the command line: ``1.5``, ``[1,1,2.5]``."""
    return f"{value:g}" if isinstance(value, float | int) else f"[{','.join(f'{one:g}' for one in value)}]"
