"""Throughput of training: samples per second, waiting time for data, time per step."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events
from ignite.handlers import Timer

from tools.utils import distributed

logger = logging.getLogger(__name__)


class StepProfiler:
    """Handler that measures the throughput of training steps, per epoch and for the run.

    It adds to ``engine.state.metrics``: ``samples_per_second`` (all ranks), ``loader_wait``, the fraction of the time
    spent waiting for data, and ``step_ms``, the time of a step without waiting, in ms. Validation is excluded. The
    summary at the end excludes the first epoch, unless there is only one. Times are measured on the host.
    """

    def __init__(self) -> None:
        self._wait, self._total = Timer(), Timer()
        self._samples = 0
        self._epochs: list[tuple[float, float, int, int]] = []

    def attach(self, engine: Engine) -> None:
        """Attach the start of the timers; call this before attaching the handlers to be measured."""
        start = {"start": Events.EPOCH_STARTED, "resume": Events.GET_BATCH_STARTED}
        self._wait.attach(engine, pause=Events.GET_BATCH_COMPLETED, **start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_STARTED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def attach_end(self, engine: Engine) -> None:
        """Attach the end of the timers and the summary on rank 0; call this after attaching all handlers."""
        start = {"start": Events.EPOCH_STARTED, "resume": Events.GET_BATCH_STARTED}
        self._total.attach(engine, pause=Events.ITERATION_COMPLETED, **start)
        if distributed.rank() == 0:
            engine.add_event_handler(Events.COMPLETED, self._report)

    def samples_per_second(self) -> float:
        """Return the samples per second of the current epoch."""
        return self._samples / max(self._total.value(), 1e-9)

    def _reset(self, engine: Engine) -> None:
        self._samples = 0

    def _count(self, engine: Engine) -> None:
        self._samples += len(engine.state.batch["image"]) * distributed.world_size()

    def _finish(self, engine: Engine) -> None:
        self._epochs.append((self._total.value(), self._wait.value(), self._samples, engine.state.epoch_length))
        engine.state.metrics |= throughput(*self._epochs[-1])

    def _report(self, engine: Engine) -> None:
        if self._epochs:  # empty if a finished run was resumed
            sums = [sum(column) for column in zip(*(self._epochs[1:] or self._epochs), strict=True)]
            found = throughput(*sums)
            speed, step = (f"{found[name]:.3g}" for name in ("samples_per_second", "step_ms"))
            logger.info(f"{speed} samples/s; {found['loader_wait']:.1%} waiting for data; step {step} ms")


def throughput(seconds: float, wait: float, samples: int, steps: int) -> dict[str, float]:
    """Return the throughput of a number of steps.

    Args:
        seconds: duration of all steps in seconds, including waiting.
        wait: seconds spent waiting for data.
        samples: number of samples of all ranks.
        steps: number of steps.

    Returns:
        ``samples_per_second``, ``loader_wait`` (fraction) and ``step_ms``.
    """
    return {
        "samples_per_second": samples / max(seconds, 1e-9),
        "loader_wait": wait / max(seconds, 1e-9),
        "step_ms": 1e3 * (seconds - wait) / steps,
    }
