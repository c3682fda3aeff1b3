"""Monitor of collapse: the spread of the embeddings during training."""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import nn

logger = logging.getLogger(__name__)


class CollapseMonitor:
    """Spread of the embeddings during training, as the metric ``embedding_spread``.

    The mean over channels of the standard deviation of L2-normalised embeddings, times √d: 1 when they point
    everywhere alike (the standard deviation is then 1/√d), 0 when all are the same (Chen and He, CVPR 2021, fig. 2).

    Args:
        module: the module whose output, flattened to (N, d), holds the embeddings.
        floor: below it embeddings count as collapsed. It is warned of once: when the spread has been below it for
            `patience` epochs and not grown (fresh networks can start there, and leave), or at the end of the run.
        patience: number of epochs.
        warns: whether a collapse is warned of at all.
    """

    def __init__(self, module: nn.Module, floor: float = 0.05, patience: int = 3, warns: bool = True) -> None:
        self.module = module
        self.floor = floor
        self.patience = patience
        self.warns = warns
        self._low: list[float] = []
        self._warned = False

    def attach(self, engine: Engine) -> None:
        """Watch the module's training passes."""
        self.module.register_forward_hook(self._measure)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        if self.warns:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._watch)
            engine.add_event_handler(Events.COMPLETED, self._conclude)

    def _start(self, engine: Engine) -> None:
        self._spreads: list[torch.Tensor] = []

    @torch.compiler.disable  # what it collects would have the network compiled anew at every step
    @torch.no_grad()
    def _measure(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if module.training:
            embeddings = F.normalize(output.detach().float().flatten(0, -2), dim=-1)
            self._spreads.append(embeddings.std(0).mean() * math.sqrt(embeddings.shape[-1]))

    def _finish(self, engine: Engine) -> None:
        engine.state.metrics["embedding_spread"] = torch.stack(self._spreads).mean().item()

    def _watch(self, engine: Engine) -> None:
        spread = engine.state.metrics["embedding_spread"]
        self._low = [*self._low, spread][-self.patience :] if spread < self.floor else []
        if len(self._low) == self.patience and spread <= self._low[0]:
            self._warn(engine)

    def _conclude(self, engine: Engine) -> None:
        if self._low:
            self._warn(engine)

    def _warn(self, engine: Engine) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                f"the embeddings have collapsed at step {engine.state.iteration}: spread {self._low[-1]:.3f}, where 1 "
                "is even and 0 a single point; start anew with a lower --learning_rate or a larger --batch_size"
            )
