"""Whether a bundle's network is what its metadata says, and scriptable: the two checks that build it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from monai.bundle import ConfigParser, verify_net_in_out

#: bundles whose `network_def` gives more than one tensor, which `verify_net_in_out` cannot look at
EXEMPT = ("deeplesion",)


def shape_problems(bundle: str | Path) -> list[str]:
    """Send an image of the declared shape through `network_def` with MONAI's own check of shape and type."""
    bundle = Path(bundle)
    if bundle.name in EXEMPT:
        return []
    configs = bundle / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    try:
        verify_net_in_out("network_def", **files, n=1, bundle_root=str(bundle))
    except Exception as error:
        return [f"{bundle.name}: network_def: expected what metadata.json says, found {_line(error)}"]
    return []


def script_problems(bundle: str | Path) -> list[str]:
    """Script `network_def`, as ``ckpt_export`` does; the Zoo never traces."""
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
    """The first line of the first error of a chain: MONAI wraps errors, torch writes pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
