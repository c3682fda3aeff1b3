"""Load the whole network of a finished downstream run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from tools.networks.renaming import rename_keys
from tools.transfer.load import contract_of, read_weights, refuse_prefix
from tools.utils.errors import InputError


def load_model(network: nn.Module, path: str | Path, train_with: str) -> dict[str, Any]:
    """Set every tensor of a network from its ``model.pt``, strictly.

    Args:
        network: changed in place, and only when nothing is wrong.
        path: the weights, as `export_weights` wrote them now or in earlier versions, see `rename_keys`.
        train_with: command that makes them, for the message when they are missing.

    Returns:
        The contract beside the weights, empty when there is none.

    Raises:
        InputError: no such file, a damaged one, or one of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no trained network yet; make it with: {train_with}")
    content, weights = read_weights(path)
    contract = contract_of(path, content) or {}
    weights = rename_keys(network, weights)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    wrong = [key for key in {**shapes, **found} if shapes.get(key) != found.get(key)]
    if wrong:
        refuse_prefix(path, shapes, found)
        first = f"{wrong[0]}: expected {shapes.get(wrong[0], 'no such tensor')}, found {found.get(wrong[0], 'nothing')}"
        said = {key: contract[key] for key in ("task", "channels", "labels") if key in contract}
        raise InputError(
            f"{path}: holds another network ({len(wrong)} tensors differ, first {first}); its contract says "
            f"{json.dumps(said)}; use the settings it was trained with"
        )
    network.load_state_dict(weights)
    return contract
