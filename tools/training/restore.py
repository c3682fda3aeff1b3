"""Reading of checkpoints: the network, the loss and further state that a run continues or evaluates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tools.networks.renaming import rename_keys
from tools.training.divergence import first_undefined
from tools.training.settings import compare_settings, encoder_settings
from tools.transfer.export import card_path
from tools.utils.errors import InputError, one_line
from tools.utils.renamed_keys import rename_settings


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside a DistributedDataParallel wrapper, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint written by `Checkpoint`, with the present names of settings.

    Raises:
        InputError: when the file is missing, damaged or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train first, or point models_dir at the run")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in torch's readers
        raise InputError(
            f"{path}: expected a checkpoint, found a file torch cannot read ({one_line(error)})"
        ) from error
    if not isinstance(content, dict) or not {"network", "optimizer", "progress", "settings"} <= content.keys():
        raise InputError(
            f"{path}: expected a checkpoint with network, optimizer and progress; this holds other things "
            "(model.pt is an encoder: pass it as --pretrained)"
        )
    return content | {"settings": rename_settings(content["settings"])}


def load_network(
    network: nn.Module, path: str | Path, settings: dict[str, Any], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Load a checkpoint's network, heads included, strictly; return the whole checkpoint.

    Args:
        network: changed in place, and only when nothing is wrong.
        path: ``checkpoint.pt``.
        settings: those of this run that the checkpoint must have in common.
        device: where the checkpoint's tensors are put.

    Raises:
        InputError: when the checkpoint is of other settings or of another architecture, or its weights are not finite.
    """
    content = read_checkpoint(path, device)
    recorded = {**_exported_settings(path, content), **content["settings"], "cases": content["cases"]}
    compare_settings(path, recorded, settings)
    target = unwrap(network)
    found = rename_keys(target, content["network"])
    shapes = {k: tuple(v.shape) for k, v in target.state_dict().items()}
    wrong = [
        f"{k}: expected {shapes.get(k, 'no such tensor')}, found {tuple(found[k].shape) if k in found else 'nothing'}"
        for k in sorted(shapes.keys() | found.keys())
        if k not in found or shapes.get(k) != tuple(found[k].shape)
    ]
    if wrong:
        raise InputError(
            f"{path}: checkpoint of another network ({len(wrong)} tensors differ, first {wrong[0]}); "
            "run with the settings it was trained with"
        )
    bad = first_undefined(found.items())
    if bad is not None:
        raise InputError(
            f"{path}: expected finite weights, found NaN or infinity in {bad}; start anew without --resume"
        )
    target.load_state_dict(found)
    return content


def _exported_settings(path: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    """Settings of the encoder that the same run exported, for a checkpoint that does not record them itself."""
    try:
        card = json.loads(card_path(Path(path).with_name("model.pt")).read_text(encoding="utf-8"))
        same_run = card["selected"]["epoch"] == content["progress"]["best_metric_epoch"]
        return encoder_settings(card["encoder"]) if same_run else {}
    except (OSError, ValueError, KeyError, TypeError):  # no card, or that of something else
        return {}


def stateful(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some objects by name that have a ``state_dict``."""
    return {name: part for name, part in parts.items() if hasattr(part, "state_dict")}


def load_parts(
    path: str | Path, content: dict[str, Any], loss_function: nn.Module, extra_state: Mapping[str, Any]
) -> None:
    """Restore the loss and further objects from a checkpoint.

    Args:
        path: the checkpoint, for messages.
        content: result of `read_checkpoint`.
        loss_function: changed in place.
        extra_state: objects by name, as `Checkpoint` takes them; changed in place.

    Raises:
        InputError: the checkpoint has the state of other objects.
    """
    saved = content.get("extra_state", {})
    if saved.keys() != extra_state.keys():
        expected, found = (", ".join(sorted(names)) or "none" for names in (extra_state, saved))
        raise InputError(f"{path}: expected a checkpoint with the state of {expected}, found that of {found}")
    loss_function.load_state_dict(content["loss_function"])
    for name, part in extra_state.items():
        part.load_state_dict(saved[name])


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Put the moments in their weights' order in memory; a fused optimizer takes it for granted.

    The run they come from may have had the other ``channels_last``.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight).copy_(value)
