"""A picture of what the network was asked and what it answered."""

from __future__ import annotations

from pathlib import Path

import torch
from ignite.engine import Engine, Events

from tools import figures
from tools.pretext import PretextTask


class Preview:
    """Draw the first validation batch of every validation to ``preview.png``.

    Args:
        path: the picture's file.
        task: the evaluator's pretext task.
    """

    def __init__(self, path: str | Path, task: PretextTask) -> None:
        self.path = Path(path)
        self.task = task

    def attach(self, evaluator: Engine) -> None:
        """Watch `evaluator`."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.draw)

    def draw(self, evaluator: Engine) -> None:
        """Draw the current batch if it is the first."""
        if evaluator.state.iteration != 1:
            return
        images = torch.Tensor.as_subclass(evaluator.state.batch["image"], torch.Tensor).cpu().float()
        prediction = evaluator.state.output["pred"].detach().float().cpu()
        figures.save(self.task.preview(images, self.task.params, prediction), self.path)
