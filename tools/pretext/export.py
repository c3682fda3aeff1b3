"""Export of the encoder with the best validation score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from tools.transfer.export import export_encoder


class ExportBest:
    """Handler that exports the encoder and its card when the evaluator's key metric improves.

    Args:
        path: path of ``model.pt``; the card is written to ``model.json`` in the same folder.
        encoder: encoder to export.
        card: returns the data-related entries of the card, see `tools.transfer.export_encoder`.
    """

    def __init__(self, path: str | Path, encoder: nn.Module, card: Callable[[], dict[str, Any]]) -> None:
        self.path = Path(path)
        self.encoder = encoder
        self.card = card

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator, after its metrics are attached."""
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.export)

    def export(self, evaluator: Engine) -> None:
        """Write the files if this is the best epoch so far."""
        state = evaluator.state
        if state.best_metric_epoch == state.epoch:
            selected = {"epoch": state.epoch, state.key_metric_name: float(state.best_metric)}
            export_encoder(self.encoder, self.path, self.card() | {"selected": selected})
