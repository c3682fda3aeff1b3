"""Progress bar of training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

from tools.training.profiler import StepProfiler
from tools.utils import distributed


class Progress:
    """Progress bar per epoch with loss, accuracy and samples/s.

    Args:
        profiler: handler that measures the samples per second.
        accuracy: maps the engine's output to the accuracy of the batch.
        refresh: number of steps between updates; each update synchronises with the device.
    """

    def __init__(
        self, profiler: StepProfiler, accuracy: Callable[[dict[str, Any]], float] | None = None, refresh: int = 1
    ) -> None:
        self.profiler = profiler
        self.accuracy = accuracy
        self.refresh = refresh

    def attach(self, engine: Engine) -> None:
        """Attach the progress bar on rank 0."""
        if distributed.rank() == 0:
            lines = 4  # per epoch if stderr is not a terminal
            every = self.refresh if sys.stderr.isatty() else max(self.refresh, engine.state.epoch_length // lines)
            shown = Events.ITERATION_COMPLETED(every=every)
            ProgressBar(desc="epoch").attach(engine, output_transform=self._postfix, event_name=shown)

    def _postfix(self, output: dict[str, Any]) -> dict[str, str]:
        shown = {"loss": f"{output['loss'].item():.3f}"}
        if self.accuracy is not None:
            shown["accuracy"] = f"{self.accuracy(output):.1%}"
        shown["samples/s"] = f"{self.profiler.samples_per_second():.1f}"
        return shown
