"""Plans of nnU-Net and nnssl checkpoints: architecture, axis order and spacing of the pretraining.

Arrays of nnU-Net have the axes of SimpleITK, (z, y, x), reordered by the plan's ``transpose_forward``; arrays here have
(x, y, z). Kernels are permuted, not flipped: a convolution with stride 2 samples other voxels of an even grid after a
flip (https://github.com/MIC-DKFZ/MultiTalent/issues/7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tools.networks.encoders import Encoder, encoder_key
from tools.networks.encoders.resenc import PRESET
from tools.transfer.comparison import format_arguments
from tools.transfer.formats.checkpoint import Checkpoint
from tools.utils.errors import InputError

PLAN = "nnssl_adaptation_plan"
#: names of the architecture with the sizes of `PRESET`
PRESET_NAMES = ("ResEncL",)
RESENC = "ResidualEncoderUNet"
#: how to get a checkpoint with a plan
REMEDY = "add one with nnssl's add_adaptation_plan.py, or put nnU-Net's plans.json into the folder of the file"


def read_plan(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the plan of an nnssl or nnU-Net checkpoint with the names of nnssl.

    Returns:
        ``architecture`` (name), ``arguments`` (of the architecture; None for a preset), ``configuration`` (spacing and
        patch size), and ``transpose`` (the position of each array axis among SimpleITK's).

    Raises:
        InputError: if there is no plan, or it lacks an entry.
    """
    plan = checkpoint.content.get(PLAN)
    try:
        return _from_nnunet(checkpoint) if plan is None else _from_nnssl(plan)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, StopIteration, ValueError) as error:
        raise InputError(
            f"{checkpoint.path}: expected the plan of an nnssl or nnU-Net checkpoint, found one without "
            f"{error if isinstance(error, KeyError) else 'the usual entries'}; {REMEDY}"
        ) from error


def _from_nnssl(plan: Mapping[str, Any]) -> dict[str, Any]:
    pretraining = plan["pretrain_plan"]
    return {
        "architecture": plan["architecture_plans"]["arch_class_name"].rpartition(".")[2],
        "arguments": plan["architecture_plans"].get("arch_kwargs"),
        "configuration": next(iter(pretraining["configurations"].values())),
        "transpose": [int(axis) for axis in pretraining.get("transpose_forward") or (0, 1, 2)],
    }


def _from_nnunet(checkpoint: Checkpoint) -> dict[str, Any]:
    settings = checkpoint.content.get("init_args") or {}
    plans = settings.get("plans") or _plans_file(checkpoint)
    configuration = dict(plans["configurations"][settings.get("configuration", "3d_fullres")])
    while "inherits_from" in configuration:
        parent = plans["configurations"][configuration.pop("inherits_from")]
        configuration = {**parent, **configuration}
    architecture = configuration["architecture"]
    return {
        "architecture": architecture["network_class_name"].rpartition(".")[2],
        "arguments": architecture["arch_kwargs"],
        "configuration": configuration,
        "transpose": [int(axis) for axis in plans.get("transpose_forward") or (0, 1, 2)],
    }


def _plans_file(checkpoint: Checkpoint) -> dict[str, Any]:
    folders = (checkpoint.path.parent, checkpoint.path.parent.parent)
    found = next((folder / "plans.json" for folder in folders if (folder / "plans.json").is_file()), None)
    if found is None:
        raise InputError(
            f"{checkpoint.path}: expected an nnssl or nnU-Net checkpoint with its plan, found none, so "
            f"architecture and axis order are unknown; {REMEDY}"
        )
    return json.loads(found.read_text(encoding="utf-8"))


def axis_order(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Return which axis of the file each of our axes x, y, z is; 2D networks are not transposed."""
    transpose = read_plan(checkpoint)["transpose"]
    return tuple(transpose.index(2 - axis) for axis in range(3))


def plan_card(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the card entries that the plan contains: the spacing of the pretraining data in mm along x, y, z."""
    if isinstance(checkpoint.content.get("card"), Mapping):  # exported by this project
        return dict(checkpoint.content["card"])
    spacing = read_plan(checkpoint)["configuration"].get("spacing")
    if spacing is None or any(edge is None for edge in spacing):
        return {}  # not resampled
    return {"spacing": [float(spacing[axis]) for axis in axis_order(checkpoint)]}


def check_plan(checkpoint: Checkpoint, encoder: Encoder) -> list[str]:
    """Compare the architecture in the plan with an encoder.

    Returns:
        Notes on the pretraining.

    Raises:
        InputError: if they differ.
    """
    plan = read_plan(checkpoint)
    if plan["architecture"] not in (RESENC, *PRESET_NAMES):
        raise InputError(
            f"{checkpoint.path}: expected weights of nnU-Net's {RESENC}, found {plan['architecture']}, for which there "
            "is no encoder here"
        )
    theirs, ours = _plan_arguments(checkpoint, plan), dict(encoder.arguments)
    if ours.get("name") == "resenc":
        ours = resenc_sizes(ours)
    if any(ours.get(key) != value for key, value in theirs.items()):
        wanted = format_arguments(encoder.arguments) or type(encoder).__name__
        key = "resenc_l" if _is_preset(theirs) else encoder_key(theirs)
        raise InputError(
            f"{checkpoint.path}: expected the weights of {wanted}, found {plan['architecture']} with other levels, "
            f'widths or strides; pass --encoder "{key}"'
        )
    schemes = plan["configuration"].get("normalization_schemes")
    return [f"intensities were normalised by {', '.join(map(str, schemes))} in pretraining"] if schemes else []


def resenc_sizes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes among the arguments of the encoder ``resenc`` with one entry per stage (and axis)."""
    count, axes = len(arguments["features"]), arguments["spatial_dims"]
    blocks = arguments["blocks"]
    return {
        "name": arguments["name"],
        "spatial_dims": axes,
        "features": list(arguments["features"]),
        "blocks": [blocks] * count if isinstance(blocks, int) else list(blocks),
        "strides": _per_axis(arguments.get("strides") or [1, *[2] * (count - 1)], axes),
        "kernel_sizes": _per_axis(arguments.get("kernel_sizes") or [3] * count, axes),
    }


def _plan_arguments(checkpoint: Checkpoint, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `build_encoder` for the architecture of a plan."""
    given = plan["arguments"]
    if given is None:
        return resenc_sizes({"name": "resenc", "spatial_dims": 3, **PRESET})
    axes = 2 if str(given["conv_op"]).endswith("2d") else 3
    order = axis_order(checkpoint) if axes == 3 else (0, 1)
    found = {
        "name": "resenc",
        "spatial_dims": axes,
        "features": given["features_per_stage"],
        "blocks": given["n_blocks_per_stage"],
        "strides": [[step[axis] for axis in order] for step in _per_axis(given["strides"], axes)],
        "kernel_sizes": [[edge[axis] for axis in order] for edge in _per_axis(given["kernel_sizes"], axes)],
    }
    return resenc_sizes(found)


def _per_axis(values: Sequence[int | Sequence[int]], axes: int) -> list[list[int]]:
    return [[one] * axes if isinstance(one, int) else list(one) for one in values]


def _is_preset(sizes: Mapping[str, Any]) -> bool:
    return sizes == resenc_sizes({"name": "resenc", "spatial_dims": 3, **PRESET})
