"""Figure of images, targets and predictions of a validation batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from tools.pretext.task import Params, PretextTask
from tools.training.throttled_figure import ThrottledFigure
from tools.utils import figures


class Preview:
    """Handler that draws the first batch of the latest validation, see `ThrottledFigure`, if the task has a figure.

    Args:
        path: file of the figure.
        task: pretext task of the evaluator.
        slice_axis: spatial axis that 2D slices are taken along; None for photographs and volumes.
    """

    def __init__(self, path: str | Path, task: PretextTask, slice_axis: int | None = None) -> None:
        self.path = Path(path)
        self.task = task
        self.slice_axis = slice_axis

    def attach(self, evaluator: Engine, run: Engine) -> None:
        """Attach to `evaluator`; the last figure is drawn when `run` ends."""
        self.latest = ThrottledFigure()
        self.latest.attach(run)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.collect)

    def collect(self, evaluator: Engine) -> None:
        """Pass the first batch of a validation to `ThrottledFigure`."""
        if evaluator.state.iteration == 1:
            images = torch.Tensor.as_subclass(evaluator.state.batch["image"], torch.Tensor).cpu().float()
            prediction = _on_cpu(evaluator.state.output["pred"])
            self.latest.submit(partial(self._draw, images, self.task.params, prediction))

    def _draw(self, images: torch.Tensor, params: Params, prediction: Any) -> None:
        with figures.slices_across(self.slice_axis):
            figure = self.task.figure(images, params, prediction)
            if figure is not None:
                figures.save(figure, self.path)


def _on_cpu(value: Any) -> Any:
    """Convert a tensor or a tuple of tensors to float32 on the CPU."""
    return tuple(map(_on_cpu, value)) if isinstance(value, tuple) else value.detach().float().cpu()
