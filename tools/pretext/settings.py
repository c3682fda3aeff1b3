"""Settings of a pretext run that a checkpoint records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tools.pretext.task import PretextTask
from tools.training.settings import encoder_settings


def pretext_settings(
    network: nn.Module, task: PretextTask, card: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a pretext run that do not depend on its optimizer, its data and its start.

    Args:
        network: pretext network, its encoder under ``encoder``.
        task: training or validation task.
        card: entries of ``model.json`` that the configuration provides.
        settings: further settings by the names of a bundle's keys.
    """
    encoder = encoder_settings(network.encoder.arguments)
    found = {"task": card["task"], **task.settings(), **card, **settings, **encoder}
    return {key: value for key, value in found.items() if key != "epochs"}
