"""Settings of a pretext run that are recorded in its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tools.pretext.task import PretextTask
from tools.training.settings import encoder_settings


def pretext_settings(
    network: nn.Module, task: PretextTask, card: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect the settings of a pretext run, without optimizer, data and initialisation.

    Args:
        network: pretext network with the attribute ``encoder``.
        task: training or validation task.
        card: entries of ``model.json`` from the configuration.
        settings: further settings by configuration key.
    """
    encoder = encoder_settings(network.encoder.arguments)
    found = {"task": card["task"], **task.settings(), **card, **settings, **encoder}
    return {key: value for key, value in found.items() if key != "epochs"}
