"""Gradient clipping."""

from __future__ import annotations

from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn


class GradientClipping:
    """Handler that clips the total gradient norm before every optimizer step.

    It unscales the gradients first with mixed precision, and waits for the last of several accumulated gradients.

    Args:
        network: trained network.
        max_norm: maximum norm of the gradients of all parameters together.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        if engine.state.iteration % engine.accumulation_steps:
            return  # gradients are still being accumulated
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
