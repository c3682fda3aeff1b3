"""GPU memory and hours, computed without a GPU: ``python -m tools.benchmarks.cost [--bundles cpc3d,mae3d]``.

The forward and backward pass of a bundle's network on one batch runs on fake tensors, which have shapes and no values.
PyTorch counts the operations and the tensors that the backward pass keeps, in float32; mixed precision about halves the
latter. Nothing is measured: memory leaves out the workspaces of cuDNN, and hours leave out the data path and
validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fire
from torch import nn

from tools.benchmarks.runs import print_table, select_bundles
from tools.bundles.arguments import check_overrides
from tools.bundles.collection import read_bundle
from tools.bundles.pretext import Pretext
from tools.bundles.segmentation import Segmentation
from tools.networks.cost import GIB, PARAMETER_BYTES, count
from tools.training.plan.trial import Trial
from tools.utils.errors import InputError, check_choice
from tools.utils.excepthook import install_excepthook

#: sustained 10¹² operations per second of an NVIDIA A100 in mixed precision. nnU-Net's documentation of its presets
#: states 9 h for 250,000 steps of its default 3D U-Net on AMOS; `count` finds 5.4 · 10¹² operations in such a step.
A100_TFLOPS = 40.0


def network_and_batch(bundle: str, config: str, **overrides: Any) -> tuple[nn.Module, Any, int]:
    """Return the network of a bundle, the input of one training step, and the number of steps.

    Args:
        bundle: a bundle that pretrains or segments.
        config: ``train`` for the defaults, ``paper``, or ``slices`` if the bundle has it.
        overrides: keys of the bundle.

    Raises:
        InputError: if the bundle neither pretrains nor segments, or has no such key.
    """
    source = read_bundle(bundle)
    if not isinstance(source, (Pretext, Segmentation)):
        raise InputError(f"bundles: expected one that pretrains on scans or segments them, found {bundle}")
    configs = source.configs()
    check_choice(config, [name for name in ("train", "paper", "slices") if name in configs], "config")
    channels = configs["metadata"]["network_data_format"]["inputs"]["image"]["num_channels"]
    check_overrides(overrides, configs["train"])
    settings = {"in_channels": channels, **overrides}
    if isinstance(source, Segmentation):
        settings["trained_labels"] = source.default_labels
    trial = Trial({**configs["train"], **configs[config]}, settings)
    content = trial.parser.get_parsed_content
    network, inputs = trial.network_and_inputs()
    return network, inputs, content("epochs") * content("steps_per_epoch")


def compute_cost(bundle: str, config: str = "paper", tflops: float = A100_TFLOPS, **overrides: Any) -> dict[str, Any]:
    """Compute the row of a bundle; same arguments as `main`."""
    network, inputs, steps = network_and_batch(bundle, config, **overrides)
    counted = count(network, inputs)
    return {
        "bundle": bundle,
        "parameters_millions": counted["parameters"] / 1e6,
        "tflop_per_step": counted["operations"] / 1e12,
        "memory_gib": (counted["kept_bytes"] + PARAMETER_BYTES * counted["parameters"]) / GIB,
        "steps": steps,
        "hours": steps * counted["operations"] / (tflops * 1e12) / 3600,
    }


def main(
    bundles: str | Sequence[str] = ("mae3d", "cpc3d", "brats"),
    config: str = "paper",
    tflops: float = A100_TFLOPS,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print a row per bundle.

    Args:
        bundles: bundle names.
        config: ``train`` for the defaults, ``paper``, or ``slices``.
        tflops: sustained speed of the GPU, in 10¹² operations per second.
        output: JSON file.
        overrides: keys of the bundles, such as ``batch_size`` or ``encoder``.
    """
    install_excepthook()
    print_table([compute_cost(name, config, tflops, **overrides) for name in select_bundles(bundles)], output)


if __name__ == "__main__":
    fire.Fire(main)
