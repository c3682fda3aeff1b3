"""Where the time of a run's steps goes: waiting for data, generation, network, optimizer."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch.utils.flop_counter import FlopCounterMode

from tools.utils import distributed

logger = logging.getLogger(__name__)

#: what a step is made of, in order; "rest" is handlers and metrics
PARTS = ("generate", "forward", "backward", "optimizer", "rest")


class Clock:
    """Parts of every step's time, as metrics of the epoch and as one line at the end of the run.

    Adds to ``engine.state.metrics`` at the end of an epoch: ``samples_per_second`` (all ranks), ``loader_wait``, the
    share of training time spent waiting for data, ``step_ms``, a step's time without that, and the shares of `PARTS`
    in it, such as ``step_forward``. On CUDA all times are the device's, read when the epoch is over: no step waits.

    The line leaves the first epoch out, which warms up, unless it is the only one.
    """

    def attach(self, engine: Engine) -> None:
        """Watch a trainer; attach it before handlers whose time shall count, and `attach_end` after them."""
        self._device = engine.state.device
        self._on_cuda = self._device.type == "cuda"
        self._epochs: list[Counter[str]] = []
        self._flops = 0
        engine.add_event_handler(Events.STARTED, self._follow_generation)
        engine.add_event_handler(Events.STARTED, self._count_operations)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        for event, part in (
            (Events.GET_BATCH_STARTED, "wait"),
            (Events.GET_BATCH_COMPLETED, "generate"),
            (IterationEvents.LOSS_COMPLETED, "backward"),
            (IterationEvents.BACKWARD_COMPLETED, "optimizer"),
            (IterationEvents.MODEL_COMPLETED, "rest"),
        ):
            engine.add_event_handler(event, self._mark, part)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def attach_end(self, engine: Engine) -> None:
        """Take the end of every step, after all its handlers; rank 0 logs the line."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._mark, "rest")
        if distributed.rank() == 0:
            engine.add_event_handler(Events.COMPLETED, self._report)

    def rate(self) -> float:
        """Samples per second of this epoch so far, by the host's clock."""
        return self._samples / max(time.perf_counter() - self._begin, 1e-9)

    def _follow_generation(self, engine: Engine) -> None:
        """Generation ends where ``prepare_batch`` does; no event says so."""
        prepare: Callable[..., Any] = engine.prepare_batch

        def prepare_and_mark(*args: Any, **kwargs: Any) -> Any:
            batch = prepare(*args, **kwargs)
            self._mark("forward")
            return batch

        engine.prepare_batch = prepare_and_mark

    def _count_operations(self, engine: Engine) -> None:
        """Count those of the first step, which is slow anyway, and uncompiled: a compiled graph hides them."""
        step = engine._process_function

        def counted(*args: Any) -> Any:
            engine._process_function = step
            with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
                output = step(*args)
            self._flops = counter.get_total_flops() * distributed.world_size()
            return output

        engine._process_function = counted

    def _mark(self, part: str) -> None:
        """Note that `part` begins now."""
        self._marks.append((part, self._now()))

    def _now(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _start(self, engine: Engine) -> None:
        self._samples = 0
        self._marks: list[tuple[str, Any]] = []
        self._begin = time.perf_counter()

    def _count(self, engine: Engine) -> None:
        self._samples += len(engine.state.batch["image"]) * distributed.world_size()

    def _finish(self, engine: Engine) -> None:
        """Add up the epoch's times; whatever comes after its last step, such as validation, is no part of them."""
        if self._on_cuda:
            self._marks[-1][1].synchronize()
        spent: Counter[str] = Counter()
        for (part, begin), (_, end) in pairwise(self._marks):
            spent[part] += begin.elapsed_time(end) / 1e3 if self._on_cuda else end - begin
        self._marks = []
        spent.update(samples=self._samples, steps=engine.state.epoch_length)
        self._epochs.append(spent)
        engine.state.metrics |= figures(spent)

    def _report(self, engine: Engine) -> None:
        if self._epochs:  # none where a finished run was resumed
            spent = sum(self._epochs[1:] or self._epochs, Counter())
            logger.info(line(figures(spent), self._flops))


def figures(spent: Counter[str]) -> dict[str, float]:
    """Metrics of steps.

    Args:
        spent: seconds by part, "wait" among them, and the numbers of "samples" and "steps".
    """
    working = max(sum(spent[part] for part in PARTS), 1e-9)
    whole = working + spent["wait"]
    shares = {f"step_{part}": spent[part] / working for part in PARTS}
    return {
        "samples_per_second": spent["samples"] / whole,
        "loader_wait": spent["wait"] / whole,
        "step_ms": 1e3 * working / spent["steps"],
        **shares,
    }


def line(metrics: dict[str, float], flops: int = 0) -> str:
    """What a run says of its speed in the end.

    Args:
        metrics: those of `figures`.
        flops: floating-point operations of a step's forward and backward pass over all ranks; 0 where not counted.
    """
    shares = ", ".join(f"{part} {metrics[f'step_{part}']:.0%}" for part in PARTS)
    parts = [
        f"{_say(metrics['samples_per_second'])} samples/s",
        f"{metrics['loader_wait']:.1%} waiting for data",
        f"step {_say(metrics['step_ms'])} ms: {shares}",
    ]
    if flops:
        parts.append(f"{_say(flops / metrics['step_ms'] / 1e9)} TFLOP/s")
    return "; ".join(parts)


def _say(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
