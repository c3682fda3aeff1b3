"""Collapse monitor: standard deviation of the normalised embeddings during training."""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import nn

logger = logging.getLogger(__name__)


class CollapseMonitor:
    """Handler that records the spread of the embeddings as the metric ``embedding_spread``.

    The spread is √d times the standard deviation of the L2-normalised embeddings, averaged over channels (Chen and He,
    CVPR 2021, fig. 2). It is 1 for uniformly distributed embeddings and 0 for identical ones.

    A collapse is logged once as a warning: after `patience` epochs below `floor` without growth, since untrained
    networks can start there, or at the end of the run.

    Args:
        module: module whose output, flattened to (N, d), is the embedding.
        floor: spread below which embeddings count as collapsed.
        patience: number of epochs.
        warn: log a warning on collapse.
    """

    def __init__(self, module: nn.Module, floor: float = 0.05, patience: int = 3, warn: bool = True) -> None:
        self.module = module
        self.floor = floor
        self.patience = patience
        self.warn = warn
        self._low: list[float] = []
        self._warned = False

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, and to the forward passes of the module in training mode."""
        self.module.register_forward_hook(self._measure)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        if self.warn:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)
            engine.add_event_handler(Events.COMPLETED, self._check_end)

    def _start(self, engine: Engine) -> None:
        self._spreads: list[torch.Tensor] = []

    @torch.compiler.disable  # the growing list would cause recompilation at every step
    @torch.no_grad()
    def _measure(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if module.training:
            embeddings = F.normalize(output.detach().float().flatten(0, -2), dim=-1)
            self._spreads.append(embeddings.std(0).mean() * math.sqrt(embeddings.shape[-1]))

    def _finish(self, engine: Engine) -> None:
        engine.state.metrics["embedding_spread"] = torch.stack(self._spreads).mean().item()

    def _check(self, engine: Engine) -> None:
        spread = engine.state.metrics["embedding_spread"]
        self._low = [*self._low, spread][-self.patience :] if spread < self.floor else []
        if len(self._low) == self.patience and spread <= self._low[0]:
            self._warn(engine)

    def _check_end(self, engine: Engine) -> None:
        if self._low:
            self._warn(engine)

    def _warn(self, engine: Engine) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                f"embeddings collapsed at step {engine.state.iteration}: spread {self._low[-1]:.3f} (1: uniform, "
                "0: all equal); restart with a lower --learning_rate or a larger --batch_size"
            )
