"""What the terminal shows while a run trains, and the guard that stops one that went wrong."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

from tools import distributed
from tools.errors import InputError

logger = logging.getLogger(__name__)


class Progress:
    """Progress bar per epoch with loss, accuracy and samples/s; speed and loader wait as metrics.

    Adds to ``engine.state.metrics`` at the end of an epoch: ``samples_per_second`` (all ranks) and ``loader_wait``,
    the share of training time spent waiting for data.

    Args:
        accuracy: maps the engine's output to the accuracy of the batch.
        refresh: steps between two updates of the bar; each reads the loss off the device.
    """

    def __init__(self, accuracy: Callable[[dict[str, Any]], float] | None = None, refresh: int = 1) -> None:
        self.accuracy = accuracy
        self.refresh = refresh

    def attach(self, engine: Engine) -> None:
        """Start the clocks; rank 0 draws the bar."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._wait)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._go)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.refresh), self.check)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        if distributed.rank() == 0:
            lines = 4  # per epoch in a log file, where the bar cannot be redrawn
            every = self.refresh if sys.stderr.isatty() else max(self.refresh, engine.state.epoch_length // lines)
            shown = Events.ITERATION_COMPLETED(every=every)
            ProgressBar(desc="epoch").attach(engine, output_transform=self._postfix, event_name=shown)

    def check(self, engine: Engine) -> None:
        """Stop at a loss that is no number; the checkpoint of the last finished epoch stays.

        Raises:
            InputError: when the loss is nan or infinite.
        """
        loss = engine.state.output["loss"].item()
        if not math.isfinite(loss):
            raise InputError(
                f"loss: expected a finite number, found {loss} at step {engine.state.iteration}; lower --learning_rate "
                "and continue from the last finished epoch with --resume True, or start anew if it is too late for that"
            )

    def _start(self, engine: Engine) -> None:
        self._samples, self._waited = 0, 0.0
        self._begin = self._last = time.perf_counter()

    def _wait(self, engine: Engine) -> None:
        self._asked = time.perf_counter()

    def _go(self, engine: Engine) -> None:
        self._waited += time.perf_counter() - self._asked

    def _count(self, engine: Engine) -> None:
        self._samples += len(engine.state.batch["image"]) * distributed.world_size()
        self._last = time.perf_counter()

    def _finish(self, engine: Engine) -> None:
        seconds = max(self._last - self._begin, 1e-9)
        engine.state.metrics["samples_per_second"] = self._samples / seconds
        engine.state.metrics["loader_wait"] = self._waited / seconds

    def _postfix(self, output: dict[str, Any]) -> dict[str, str]:
        shown = {"loss": f"{output['loss'].item():.3f}"}
        if self.accuracy is not None:
            shown["accuracy"] = f"{self.accuracy(output):.1%}"
        shown["samples/s"] = f"{self._samples / max(time.perf_counter() - self._begin, 1e-9):.1f}"
        return shown
