"""Load a finished run's network before the first case, and refuse cases it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from tools.training.restore import unwrap
from tools.training.settings import compare_settings, encoder_settings, plain
from tools.transfer.card import read_card
from tools.transfer.load import seen_cases
from tools.transfer.model import load_model
from tools.utils.errors import InputError

logger = logging.getLogger(__name__)


class ModelLoader:
    """Load ``model.pt`` into a network when an engine starts.

    Args:
        network: the network.
        path: its weights, ``model.pt``, with the contract beside it.
        train_with: command that makes them.
        expected: entries of the contract, such as spacing, that images are prepared by now; others are refused, and so
            are other arguments of the encoder.
        test_cases: ids and voxel hashes of the cases to come, when they must be unseen.
        allow_overlap: warn of seen cases instead of refusing them.

    Attributes:
        contract: that of the weights, once loaded.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str,
        train_with: str,
        expected: dict[str, Any],
        test_cases: Sequence[dict[str, Any]] = (),
        allow_overlap: bool = False,
    ) -> None:
        self.network = unwrap(network)
        self.path = path
        self.train_with = train_with
        self.expected = expected
        self.test_cases = test_cases
        self.allow_overlap = allow_overlap

    def attach(self, engine: Engine) -> None:
        """Load at the start."""
        engine.add_event_handler(Events.STARTED, self.load)

    def load(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            InputError: see `load_model`; when images are prepared otherwise than in training, or with another
                encoder; when a case to come was trained or validated on.
        """
        card = read_card(self.path)
        recorded = {**card, **encoder_settings(card.get("encoder", {}))}
        wanted = {**self.expected, **encoder_settings(self.network.encoder.arguments)}
        if Path(self.path).exists():  # else `load_model` names the command that trains
            compare_settings(self.path, recorded, plain(wanted))
        self.contract = contract = load_model(self.network, self.path, self.train_with)
        epoch = contract.get("selected", {}).get("epoch", "?")
        start = f", from {contract['pretrained']}" if contract.get("pretrained") else ""
        logger.info(f"{self.path}: epoch {epoch} of a run with protocol {contract.get('protocol', '?')}{start}")
        seen = seen_cases(contract, self.test_cases)
        if seen:
            named = ", ".join(f"{test} (as {train})" for train, test in seen[:5])
            message = f"{self.path}: expected cases it has not seen, found {len(seen)} that it has: {named}"
            if not self.allow_overlap:
                raise InputError(f"{message}; take others, or insist with --allow_overlap True")
            logger.warning(message)
