"""Export of weights with a model card."""

from __future__ import annotations

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
from tools.utils.files import atomic_write, file_sha256
from tools.utils.memory import tensor_bytes


def card_path(path: str | Path) -> Path:
    """Return the path of the card of a weights file, with the suffix ``.json``."""
    return Path(path).with_suffix(".json")


def export_encoder(encoder: Encoder, path: str | Path, card: Mapping[str, Any]) -> None:
    """Write the state dict of an encoder (CPU tensors) and its model card.

    ``encoder`` (name and arguments of `build_encoder`), ``versions`` and ``sha256`` of the weights file are added to
    the card. Both files are written atomically. Equal weights give equal bytes.

    Args:
        encoder: encoder from `tools.networks.build_encoder`.
        path: path of the weights, ``model.pt``.
        card: JSON-serialisable entries, such as ``channels`` (names in order), ``orientation``, ``spacing`` (mm),
            ``intensity``, ``roi`` (voxels), ``task``, ``epochs``, ``seed`` and ``cases``, a list of
            ``{"case": id, "hashes": [SHA-256 of the decoded voxels of each channel]}``.

    Raises:
        InputError: if the encoder was not built by `build_encoder`.
    """
    if not encoder.arguments:
        raise InputError("encoder: expected one from tools.networks.build_encoder, found one without arguments")
    export_weights(encoder, path, {**card, "encoder": encoder.arguments})


def export_weights(network: nn.Module, path: str | Path, card: Mapping[str, Any]) -> None:
    """Write the state dict of a network and its card, see `export_encoder`.

    Raises:
        InputError: see `write_weights`.
    """
    write_weights({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, path, card)


def write_weights(weights: Mapping[str, torch.Tensor], path: str | Path, card: Mapping[str, Any]) -> None:
    """Write a state dict of CPU tensors and its card, see `export_encoder`.

    Raises:
        InputError: if a weight is NaN or infinite; existing files are kept.
    """
    bad = [k for k, v in weights.items() if not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"{path}: expected finite weights to write, found NaN or infinity in {bad[0]}")
    with atomic_write(card_path(path)) as json_file, atomic_write(path, tensor_bytes(weights)) as weights_file:
        with weights_file.open("wb") as stream:  # with a path, torch would store the random file name
            torch.save(weights, stream)
        own = {"versions": _versions(), "sha256": file_sha256(weights_file)}
        json_file.write_text(json.dumps({**card, **own}, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
        "tools": tools.__version__,
    }
