"""Load a 2D residual network's weights into a 3D one, with the report of every other loading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tools.networks.encoders import Encoder
from tools.networks.inflation import inflate_resnet
from tools.transfer.report import Entry, LoadReport
from tools.utils.errors import InputError


def load_inflated(encoder: Encoder, path: Path, weights: Mapping[str, torch.Tensor]) -> LoadReport:
    """Set every tensor of a 3D residual network from a 2D one's state dict, see `inflate_resnet`.

    Args:
        encoder: a 3D `ResNetEncoder`; changed in place, and only when nothing is wrong.
        path: the file they were read from, such as torchvision's ``resnet18-….pth``.
        weights: what was in it.

    Returns:
        The report; print it.

    Raises:
        InputError: when they do not fit.
    """
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
