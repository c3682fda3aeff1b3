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
    """Check that `network_def` can be scripted, as ``ckpt_export`` does."""
    bundle = Path(bundle)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    parser["bundle_root"] = str(bundle)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.script(parser.get_parsed_content("network_def"))
    except Exception as error:
        return [f"{bundle.name}: network_def: expected a network that can be scripted, found {_line(error)}"]
    return []


def _line(error: Exception) -> str:
    """Return the first line of the original error in a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
