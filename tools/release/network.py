"""Checks of a bundle's network: shapes declared in the metadata, and TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from monai.bundle import ConfigParser, verify_net_in_out

#: bundles whose `network_def` returns several tensors, which `verify_net_in_out` does not support
EXEMPT = ("deeplesion",)


def shape_problems(bundle: str | Path) -> list[str]:
    """Check input and output shapes of `network_def` with MONAI's `verify_net_in_out`."""
    bundle = Path(bundle)
    if bundle.name in EXEMPT:
        return []
    configs = bundle / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    try:
        verify_net_in_out("network_def", **files, n=1, bundle_root=str(bundle))
    except Exception as error:
        return [f"{bundle.name}: network_def: expected the format in metadata.json, found {_line(error)}"]
    return []


def script_problems(bundle: str | Path) -> list[str]:
    """Check that ``ckpt_export`` can export `network_def`: by scripting, or by tracing if its encoder requires it."""
    bundle = Path(bundle)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    parser["bundle_root"] = str(bundle)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes become constants
            _export(parser.get_parsed_content("network_def"))
    except Exception as error:
        return [f"{bundle.name}: network_def: expected a network that can be scripted, found {_line(error)}"]
    return []


def _export(network: torch.nn.Module) -> None:
    encoder = getattr(network, "encoder", network)
    if getattr(encoder, "scriptable", True):
        torch.jit.script(network)
    else:
        size = [max(edge, 32) for edge in encoder.min_size]
        torch.jit.trace(network.eval(), torch.zeros(1, encoder.in_channels, *size), check_trace=False)


def _line(error: Exception) -> str:
    """Return the first line of the original error in a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
