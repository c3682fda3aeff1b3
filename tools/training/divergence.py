"""Divergence check: stops training if loss, weights or optimizer state contain NaN or infinity."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.utils import get_total_norm

from tools.utils.errors import InputError

logger = logging.getLogger(__name__)


class DivergenceCheck:
    """Handler that stops training before weights with NaN or infinity are validated, exported or saved.

    The loss is checked every `refresh` steps. Network (including running statistics) and optimizer are checked once per
    epoch, since each check synchronises with the GPU. Non-finite gradients alone do not stop training, since
    `GradScaler` skips such steps. All processes have the same weights and stop at the same step.

    Args:
        network: trained network.
        optimizer: optimizer of the network.
        checkpoint: path of the last checkpoint, for messages.
        refresh: number of steps between checks of the loss.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: str | Path, refresh: int = 1
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.checkpoint = Path(checkpoint)
        self.refresh = refresh
        self.learning_rate = math.nan

    def attach(self, engine: Engine, evaluator: Engine) -> None:
        """Check steps and epochs of a trainer; call this before handlers that write files."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._record_learning_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.refresh), self.check_loss)
        evaluator.add_event_handler(Events.STARTED, lambda _: self.check_epoch(engine))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_unvalidated, evaluator)

    def _check_unvalidated(self, engine: Engine, evaluator: Engine) -> None:
        if evaluator.state.epoch != engine.state.epoch:  # otherwise already checked
            self.check_epoch(engine)

    def _record_learning_rate(self, engine: Engine) -> None:
        self.learning_rate = self.optimizer.param_groups[0]["lr"]  # the schedule changes it before the step is checked

    def check_loss(self, engine: Engine) -> None:
        """Check the loss of the last step.

        Raises:
            InputError: if the loss is NaN or infinite.
        """
        loss = engine.state.output["loss"].item()
        if not math.isfinite(loss):
            raise self._error("loss", "a finite number", str(loss), engine)

    def check_epoch(self, engine: Engine) -> None:
        """Check loss, network and optimizer after the last step of an epoch.

        Raises:
            InputError: if a value is NaN or infinite.
        """
        self.check_loss(engine)
        states = ((name, value) for state in self.optimizer.state.values() for name, value in state.items())
        for kind, tensors in (("weights", self.network.state_dict().items()), ("optimizer", states)):
            name = first_non_finite(tensors)
            if name is not None:
                raise self._error(kind, "finite numbers", f"NaN or infinity in {name}", engine)

    def _error(self, name: str, expected: str, found: str, engine: Engine) -> InputError:
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None]).item()
        remedy = "start again with a lower --learning_rate"
        if self.checkpoint.exists():
            remedy = f"lower --learning_rate and pass --resume True to continue from {self.checkpoint}"
        return InputError(
            f"{name}: expected {expected}, found {found} at step {engine.state.iteration} (learning rate "
            f"{self.learning_rate:.3g}, gradient norm {norm:.3g}); {remedy}"
        )


def reject_non_finite_score(evaluator: Engine) -> None:
    """Reset the best metric if it or its loss is not finite, since MONAI's evaluator accepts any first value."""
    state = evaluator.state
    of_this_epoch = state.best_metric_epoch == state.epoch
    loss = float(state.metrics.get("loss", 0.0)) if of_this_epoch else 0.0
    if not math.isfinite(state.best_metric) or not math.isfinite(loss):
        logger.warning(
            f"validation {state.key_metric_name.replace('_', ' ')} is {state.best_metric} at epoch "
            f"{state.best_metric_epoch}, with loss {loss}; it is not selected as the best"
        )
        state.best_metric, state.best_metric_epoch = -1, -1


def first_non_finite(tensors: Iterable[tuple[str, Any]]) -> str | None:
    """Return the name of the first tensor with NaN or infinity, or None.

    Args:
        tensors: pairs of names and values; values other than floating-point tensors are ignored.
    """
    floating = [(name, one.detach()) for name, one in tensors if torch.is_tensor(one) and one.is_floating_point()]
    if get_total_norm([one for _, one in floating]).isfinite():
        return None
    return next((name for name, one in floating if not one.isfinite().all()), None)  # the norm may overflow
