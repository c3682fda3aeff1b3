"""What the reports of classifying bundles share: everything an evaluator saw, and how figures are said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events


class Collector:
    """Logits, labels, cases and patients of everything an evaluator sees in one pass."""

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    def _clear(self, engine: Engine) -> None:
        self.logits: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        self.cases: list[str] = []
        self.patients: list[str] = []

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        self.logits.append(engine.state.output["pred"].detach().float().cpu())
        self.labels.append(engine.state.output["label"].cpu())
        self.cases += list(batch["case"])
        self.patients += list(batch["patient"])


def say_scores(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line per figure with its interval, as `bootstrap_scores` gives them."""
    lines = []
    for name, score in scores.items():
        low, high = score["interval_95"]
        lines.append(f"  {name:20} {score['value']:.3f} ({low:.3f} to {high:.3f})")
    return lines
