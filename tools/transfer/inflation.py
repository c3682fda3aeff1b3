"""Loading of 2D ResNet weights into 3D encoders by inflation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tools.networks.encoders import Encoder
from tools.networks.inflation import inflate_resnet
from tools.transfer.report import Entry, LoadReport
from tools.utils.errors import InputError


def load_inflated(encoder: Encoder, path: Path, weights: Mapping[str, torch.Tensor]) -> LoadReport:
    """Load the state dict of a 2D ResNet into a 3D ResNet, see `inflate_resnet`.

    Args:
        encoder: 3D `ResNetEncoder`, changed in place unless an error is raised.
        path: path of the weights, such as torchvision's ``resnet18-….pth``.
        weights: state dict in this file.

    Returns:
        The report.

    Raises:
        InputError: if the weights do not fit.
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
        Entry(name, "skipped", value.numel(), False, f"not in the encoder, file {tuple(value.shape)}")
        for name, value in weights.items()
        if name not in state
    ]
    encoder.load_state_dict(state)
    return LoadReport(
        f"{path} (2D, inflated)", entries, [f"{path}: no model card beside it; the pretraining data is unknown"]
    )
