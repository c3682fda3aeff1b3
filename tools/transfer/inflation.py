"""Load a 2D residual network's weights into a 3D one, with the report of every other loading."""

from __future__ import annotations

from pathlib import Path

from tools.errors import InputError
from tools.networks import Encoder, inflate_resnet
from tools.transfer.export import contract_path
from tools.transfer.load import read_weights
from tools.transfer.report import Entry, LoadReport


def load_inflated(encoder: Encoder, path: str | Path) -> LoadReport:
    """Set every tensor of a 3D residual network from a file with a 2D one's state dict, see `inflate_resnet`.

    Args:
        encoder: a 3D `ResNetEncoder`; changed in place, and only when nothing is wrong.
        path: the weights file, such as torchvision's ``resnet18-….pth``.

    Returns:
        The report; print it.

    Raises:
        InputError: when the file is missing, damaged, or holds something else; when it has a contract and so is an
            encoder of this collection, whose cases and settings are not looked at here.
    """
    path = Path(path)
    if contract_path(path).exists():
        raise InputError(f"{path}: expected a network trained elsewhere, found a contract, {contract_path(path).name}")
    _, weights = read_weights(path)
    try:
        state, notes = inflate_resnet(weights, encoder)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    parameters = dict(encoder.named_parameters())
    entries = [
        Entry(name, "adapted" if notes[name] else "loaded", value.numel(), name in parameters, notes[name])
        for name, value in state.items()
    ]
    entries += [
        Entry(name, "skipped", value.numel(), False, f"the encoder has no such tensor, file {tuple(value.shape)}")
        for name, value in weights.items()
        if name not in state
    ]
    encoder.load_state_dict(state)
    return LoadReport(f"{path} (2D, inflated)", entries, [f"{path}: no contract beside it: what it saw is not known"])
