"""Loading of checkpoints: network, loss function and further state, for resuming and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tools.networks.renaming import rename_keys
from tools.training.divergence import first_non_finite
from tools.training.settings import compare_settings, encoder_settings
from tools.transfer.card import read_card
from tools.utils.errors import InputError
from tools.utils.inputs import COUNT, DICTIONARY, INTEGER, TEXT, Rule, check_fields, list_of
from tools.utils.renamed_keys import rename_settings
from tools.utils.tensor_files import load_tensors

STATE_DICT = Rule("tensors by name", lambda v: isinstance(v, dict) and all(map(torch.is_tensor, v.values())))
#: fields of a checkpoint
CHECKPOINT = {
    "network": STATE_DICT,
    "optimizer": {"state": Rule("a dictionary", lambda v: isinstance(v, dict)), "param_groups": [DICTIONARY]},
    "scheduler?": DICTIONARY,
    "loss_function": DICTIONARY,
    "extra_state?": DICTIONARY,
    "scaler?": DICTIONARY,
    "settings": DICTIONARY,
    "cases": list_of(TEXT),
    "progress": {
        "epoch": COUNT,
        "step": COUNT,
        "best_metric": Rule("a number", lambda v: isinstance(v, float)),
        "best_metric_epoch": INTEGER,
    },
}


def unwrap_model(network: nn.Module) -> nn.Module:
    """Return the network inside a DistributedDataParallel wrapper, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint written by `Checkpoint`, with the current names of settings.

    Raises:
        InputError: if the file is missing, damaged, or not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train first, or point models_dir at the run")
    content = load_tensors(path, path, "a checkpoint", device)
    if not isinstance(content, dict) or not {"network", "optimizer", "progress", "settings"} <= content.keys():
        raise InputError(
            f"{path}: expected a checkpoint with network, optimizer and progress, found other content; pass "
            "weights such as model.pt as --pretrained"
        )
    check_fields(path, content, CHECKPOINT)
    return content | {"settings": rename_settings(content["settings"])}


def load_network(
    network: nn.Module, path: str | Path, settings: dict[str, Any], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Load the weights of a checkpoint strictly, including heads.

    Args:
        network: network; only changed if all checks pass.
        path: path of ``checkpoint.pt``.
        settings: settings of this run that must equal the checkpoint's settings.
        device: device of the checkpoint's tensors.

    Returns:
        The content of the checkpoint.

    Raises:
        InputError: if settings or architecture differ, or the weights are not finite.
    """
    content = read_checkpoint(path, device)
    recorded = {**_exported_settings(path, content), **content["settings"], "cases": content["cases"]}
    compare_settings(path, recorded, settings)
    target = unwrap_model(network)
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
    bad = first_non_finite(found.items())
    if bad is not None:
        raise InputError(
            f"{path}: expected finite weights, found NaN or infinity in {bad}; start again without --resume"
        )
    target.load_state_dict(found)
    return content


def _exported_settings(path: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the encoder settings in the card of the same run, for checkpoints that do not record them."""
    card = read_card(Path(path).with_name("model.pt"))
    same_run = card.get("selected", {}).get("epoch") == content["progress"]["best_metric_epoch"]
    return encoder_settings(card["encoder"]) if card and same_run else {}


def stateful_objects(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objects, by name, that have a ``state_dict``."""
    return {name: one for name, one in objects.items() if hasattr(one, "state_dict")}


def load_extra_state(
    path: str | Path, content: dict[str, Any], loss_function: nn.Module, extra_state: Mapping[str, Any]
) -> None:
    """Load the state of the loss function and of further objects from a checkpoint.

    Args:
        path: path of the checkpoint, for messages.
        content: result of `read_checkpoint`.
        loss_function: loss function.
        extra_state: objects by name, as passed to `Checkpoint`.

    Raises:
        InputError: if the checkpoint has the state of other objects.
    """
    saved = content.get("extra_state", {})
    if saved.keys() != extra_state.keys():
        expected, found = (", ".join(sorted(names)) or "none" for names in (extra_state, saved))
        raise InputError(f"{path}: expected a checkpoint with the state of {expected}, found that of {found}")
    loss_function.load_state_dict(content["loss_function"])
    for name, part in extra_state.items():
        part.load_state_dict(saved[name])


def match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Convert the optimizer's moments to the memory format of their weights, which fused optimizers require.

    The formats differ if the checkpoint was written with another value of ``channels_last``.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight).copy_(value)
