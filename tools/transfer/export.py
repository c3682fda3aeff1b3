"""Write an encoder's weights and the contract that says what they are."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

import tools
from tools.networks.encoders import Encoder
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.memory import tensor_bytes


def contract_path(path: str | Path) -> Path:
    """Return where the contract of the weights at `path` lies: the same stem, ``.json``."""
    return Path(path).with_suffix(".json")


def export_encoder(encoder: Encoder, path: str | Path, contract: Mapping[str, Any]) -> None:
    """Write the encoder's state dict (tensors on the CPU, nothing else) and, beside it, its contract.

    The contract holds the caller's entries and three more: ``encoder`` (name and arguments of `build_encoder`),
    ``versions`` and ``sha256`` of the weights file. Both files appear whole or not at all; the same weights give the
    same bytes.

    Args:
        encoder: built by `tools.networks.build_encoder`.
        path: the weights file, ``model.pt``.
        contract: JSON-able entries the caller knows: ``channels`` (their meaning, in order), ``orientation``,
            ``spacing`` (mm), ``intensity``, ``roi`` (voxels), ``task``, ``epochs``, ``seed`` and ``cases``, a list of
            ``{"case": id, "hashes": [SHA-256 of the decoded voxels of each channel]}``.

    Raises:
        InputError: when the encoder does not know how it was built.
    """
    if not encoder.arguments:
        raise InputError("encoder: expected one from tools.networks.build_encoder, found one without arguments")
    export_weights(encoder, path, {**contract, "encoder": encoder.arguments})


def export_weights(network: nn.Module, path: str | Path, contract: Mapping[str, Any]) -> None:
    """Write any network's state dict and contract as `export_encoder` does an encoder's.

    Raises:
        InputError: when a weight is NaN or infinite; the files there stay as they are.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    bad = [k for k, v in weights.items() if not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"{path}: expected finite weights to write, found NaN or infinity in {bad[0]}")
    with atomic_write(contract_path(path)) as json_file, atomic_write(path, tensor_bytes(weights)) as weights_file:
        with weights_file.open("wb") as stream:  # given a path, torch writes its (random) name into the file
            torch.save(weights, stream)
        own = {"versions": _versions(), "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest()}
        json_file.write_text(json.dumps({**contract, **own}, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
        "tools": tools.__version__,
    }
