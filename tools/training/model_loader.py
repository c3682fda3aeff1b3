"""Handler that loads a trained network for evaluation or inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from tools.training.restore import unwrap_model
from tools.training.settings import compare_settings, encoder_settings, to_json_types
from tools.transfer.card import read_card
from tools.transfer.comparison import seen_cases
from tools.transfer.model import load_model
from tools.utils.errors import InputError

logger = logging.getLogger(__name__)


class ModelLoader:
    """Load ``model.pt`` into a network when an engine starts.

    Args:
        network: network.
        path: path of the weights, ``model.pt``, with the card next to it.
        train_with: training command, for the error message if the file is missing.
        expected: entries of the card, such as spacing, that must equal the current settings, in addition to the
            encoder's arguments.
        test_cases: ids and voxel hashes of the test cases, which must not be training or validation cases.
        allow_test_leakage: whether to warn instead of raising if they are.

    Attributes:
        card: card of the weights after loading.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str,
        train_with: str,
        expected: dict[str, Any],
        test_cases: Sequence[dict[str, Any]] = (),
        allow_test_leakage: bool = False,
    ) -> None:
        self.network = unwrap_model(network)
        self.path = path
        self.train_with = train_with
        self.expected = expected
        self.test_cases = test_cases
        self.allow_test_leakage = allow_test_leakage

    def attach(self, engine: Engine) -> None:
        """Attach to the engine."""
        engine.add_event_handler(Events.STARTED, self.load)

    def load(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            InputError: see `load_model`; also if the settings or the encoder differ from training, or if a test case
                was used for training or validation.
        """
        card = read_card(self.path)
        recorded = {**card, **encoder_settings(card.get("encoder", {}))}
        wanted = {**self.expected, **encoder_settings(self.network.encoder.arguments)}
        if Path(self.path).exists():  # otherwise `load_model` raises with the training command
            compare_settings(self.path, recorded, to_json_types(wanted))
        self.card = card = load_model(self.network, self.path, self.train_with)
        epoch = card.get("selected", {}).get("epoch", "?")
        start = f", from {card['pretrained']}" if card.get("pretrained") else ""
        logger.info(f"{self.path}: epoch {epoch} of a run with protocol {card.get('protocol', '?')}{start}")
        seen = seen_cases(card, self.test_cases)
        if seen:
            named = ", ".join(f"{test} (as {train})" for train, test in seen[:5])
            message = f"{self.path}: expected unseen test cases, found {len(seen)} used for training: {named}"
            if not self.allow_test_leakage:
                raise InputError(f"{message}; change the split, or pass --allow_test_leakage True")
            logger.warning(message)
