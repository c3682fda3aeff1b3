"""Base handlers of figures and reports, which collect the outputs of an evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from tools.training.model_loader import ModelLoader
from tools.utils.bootstrap import describe_interval
from tools.utils.outputs import output_path


class Collector(ABC):
    """Base handler that collects logits, labels, cases and patients of an evaluation; subclasses write the results."""

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

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

    @abstractmethod
    def _finish(self, engine: Engine) -> None:
        """Process the collected outputs."""


class Report(Collector):
    """Base handler that loads a trained network and writes results.

    Args:
        model: handler that loads the network.
        output_dir: output folder.
    """

    FILES: tuple[str, ...] = ("evaluation.csv", "evaluation.json", "evaluation.png")

    def __init__(self, model: ModelLoader, output_dir: str) -> None:
        self.model = model
        self.files = {name: output_path(output_dir, name) for name in self.FILES}

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        self.model.attach(engine)
        super().attach(engine)


def describe_scores(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Format scores of `bootstrap_scores` with their intervals, one per line."""
    return [
        f"  {name:20} {score['value']:.3f} ({describe_interval(score['interval_95'], score['n'], '.3f')})"
        for name, score in scores.items()
    ]
