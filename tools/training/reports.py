"""What pictures and reports share: collecting what an evaluator sees until its end, and how figures are said."""

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
    """Collects logits, labels, cases and patients of one pass, unless a subclass collects something else."""

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator."""
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
        """Make something of it."""


class Report(Collector):
    """Base of what is written of a trained network's answers.

    Args:
        model: loads the network.
        output_dir: where the files go.
    """

    FILES: tuple[str, ...] = ("evaluation.csv", "evaluation.json", "evaluation.png")

    def __init__(self, model: ModelLoader, output_dir: str) -> None:
        self.model = model
        self.files = {name: output_path(output_dir, name) for name in self.FILES}

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator."""
        self.model.attach(engine)
        super().attach(engine)


def describe_scores(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line per figure with its interval, as `bootstrap_scores` gives them."""
    return [
        f"  {name:20} {score['value']:.3f} ({describe_interval(score['interval_95'], score['n'], '.3f')})"
        for name, score in scores.items()
    ]
