"""A picture of what the network was asked and what it answered."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from tools.pretext.task import Params, PretextTask
from tools.training.latest_figure import LatestFigure
from tools.utils import figures


class Preview:
    """Draw the first validation batch of the latest validation to ``preview.png``, see `LatestFigure`.

    Args:
        path: the picture's file.
        task: the evaluator's pretext task.
        slice_axis: axis that 2D images lie across in their volumes; None for photographs and volumes.
    """

    def __init__(self, path: str | Path, task: PretextTask, slice_axis: int | None = None) -> None:
        self.path = Path(path)
        self.task = task
        self.slice_axis = slice_axis

    def attach(self, evaluator: Engine, run: Engine) -> None:
        """Watch `evaluator`; the last picture is drawn when `run` ends."""
        self.latest = LatestFigure()
        self.latest.attach(run)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.take)

    def take(self, evaluator: Engine) -> None:
        """Offer the current batch if it is the first."""
        if evaluator.state.iteration == 1:
            images = torch.Tensor.as_subclass(evaluator.state.batch["image"], torch.Tensor).cpu().float()
            prediction = evaluator.state.output["pred"].detach().float().cpu()
            self.latest.offer(partial(self._draw, images, self.task.params, prediction))

    def _draw(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> None:
        with figures.slices_across(self.slice_axis):
            figures.save(self.task.preview(images, params, prediction), self.path)
