"""Plan of spacing, crop size and batch size from a fingerprint of the data (``--plan True``, ``--spacing auto``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from tools.training.plan.fingerprint import Fingerprint, read_fingerprint
from tools.training.plan.planner import Plan, make_plan
from tools.training.plan.report import describe_fingerprint, describe_plan
from tools.training.plan.trial import Trial
from tools.transforms.preprocessing import build_reading
from tools.utils import distributed
from tools.utils.errors import InputError, check_choice
from tools.utils.files import write_json
from tools.utils.outputs import output_path

AUTO = "auto"
FILE = "plan.json"


def plan_sizes(
    bundle_root: str,
    cases: Sequence[dict[str, Any]],
    channels: int,
    spacing: float | Sequence[float] | str,
    roi_size: Sequence[int] | str,
    settings: Mapping[str, Any],
    gpu_memory_target: float,
    max_voxels: int,
    seed: int = 0,
    plan: bool = False,
    isotropic: bool = False,
    slice_axis: int | None = None,
    output_dir: str | None = None,
) -> dict[str, Any]:
    """Return spacing and crop size of a run, planned where they are ``auto``.

    Rank 0 reads a sample of the volumes, plans, prints the plan, writes it to ``plan.json`` and sends it to the other
    ranks. Nothing is read if neither value is ``auto`` and `plan` is False.

    Args:
        bundle_root: folder of the bundle, for its training configuration.
        cases: cases, see `find_cases`.
        channels: number of channels of all volumes.
        spacing: spacing in mm, or ``auto``.
        roi_size: crop size in voxels, or ``auto``.
        settings: keys of network and task with their values.
        gpu_memory_target: memory of a training step in GiB.
        max_voxels: largest number of voxels of a file.
        seed: seed of the sample.
        plan: whether to print the plan and exit. Spacing and crop size are planned if neither is ``auto``.
        isotropic: whether all axes must have the same spacing.
        slice_axis: axis perpendicular to the slices, which have no plan; None for volumes.
        output_dir: folder of ``plan.json``; None to write no file.

    Raises:
        InputError: if no sampled volume can be read, or the task and the encoder accept no crop.
        SystemExit: with code 0 if `plan` is True.
    """
    given = {"spacing": spacing, "roi_size": roi_size}
    wanted = [key for key, value in given.items() if isinstance(value, str)]
    for key in wanted:
        check_choice(given[key], [AUTO], key)
    if not wanted and not plan:
        return given
    if slice_axis is not None:
        raise InputError(f"plan: expected slice_axis None, since only crops of volumes are planned, found {slice_axis}")
    fixed = {key: value for key, value in given.items() if wanted and key not in wanted}
    planned, failure = None, None
    if distributed.rank() == 0:
        try:
            fingerprint = read_fingerprint(cases, build_reading(channels, max_voxels), seed)
            config = ConfigParser.load_config_file(Path(bundle_root, "configs", "train.json"))
            trial = Trial(config, {**settings, "in_channels": channels})
            planned = make_plan(fingerprint, trial, gpu_memory_target, isotropic, **fixed)
            recorded = {"settings": dict(settings), "gpu_memory_target": gpu_memory_target, "seed": seed}
            _report(fingerprint, planned, recorded, output_dir)
        except InputError as error:
            failure = error
    planned, message = distributed.gather_objects((planned, failure and str(failure)))[0]
    if message is not None:
        raise failure or InputError(message)
    if plan:
        raise SystemExit(0)
    return {key: getattr(planned, key) for key in given}


def _report(fingerprint: Fingerprint, plan: Plan, recorded: Mapping[str, Any], output_dir: str | None) -> None:
    """Print fingerprint and plan, and write them to ``plan.json`` with further entries."""
    lines = describe_fingerprint(fingerprint) + describe_plan(plan, recorded["settings"], recorded["gpu_memory_target"])
    if output_dir is not None:
        path = output_path(output_dir, FILE)
        write_json(path, {**asdict(plan), **recorded, "fingerprint": fingerprint.summary()})
        lines.append(f"written to {path}")
    print("\n".join(lines))
