"""Strict loading of the network of a downstream run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from tools.networks.renaming import rename_keys
from tools.transfer.formats.checkpoint import read_checkpoint
from tools.transfer.formats.matching import strip_wrapper
from tools.transfer.load import read_matching_card
from tools.utils.errors import InputError


def load_model(network: nn.Module, path: str | Path, train_with: str) -> dict[str, Any]:
    """Load all tensors of a network from ``model.pt``.

    Args:
        network: network, changed in place unless an error is raised.
        path: path of the weights from `export_weights`, also of earlier versions, see `rename_keys`, or of a wrapped
            network.
        train_with: training command, for the error message if the file is missing.

    Returns:
        The card of the weights; empty without a card.

    Raises:
        InputError: if the file is missing, damaged or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a trained network, found no file; train it with: {train_with}")
    weights, card = strip_wrapper(read_checkpoint(path).weights), read_matching_card(path) or {}
    weights = rename_keys(network, weights)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    wrong = [key for key in {**shapes, **found} if shapes.get(key) != found.get(key)]
    if wrong:
        first = f"{wrong[0]}: expected {shapes.get(wrong[0], 'no such tensor')}, found {found.get(wrong[0], 'nothing')}"
        described = {key: card[key] for key in ("task", "channels", "labels") if key in card}
        raise InputError(
            f"{path}: expected the weights of this network, found {len(wrong)} tensors that differ, first {first}; its "
            f"card: {json.dumps(described)}; use the settings of training"
        )
    network.load_state_dict(weights)
    return card
