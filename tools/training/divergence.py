"""Check for diverged training: a loss, weights or a state of the optimizer that are no longer finite."""

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
    """Stops a run before anything that is not finite is validated, exported or saved.

    The loss is checked every `refresh` steps. Network (running statistics included) and optimizer are checked once per
    epoch, since reading them off a GPU at every step would make it wait, and what is not finite stays so. With float16
    the `GradScaler` skips steps whose gradients are not finite; they change nothing and are no reason to stop. All
    processes have the same weights and stop at the same step.

    Args:
        network: trained network.
        optimizer: its optimizer.
        checkpoint: file of the last finished epoch, which stays as it is.
        refresh: steps between two checks of the loss.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: str | Path, refresh: int = 1
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.checkpoint = Path(checkpoint)
        self.refresh = refresh
        self.rate = math.nan

    def attach(self, engine: Engine, evaluator: Engine) -> None:
        """Check a trainer's steps and epochs, the latter before `evaluator` runs; attach before what writes files."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._note_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.refresh), self.check_loss)
        evaluator.add_event_handler(Events.STARTED, lambda _: self.check_epoch(engine))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_unvalidated, evaluator)

    def _check_unvalidated(self, engine: Engine, evaluator: Engine) -> None:
        if evaluator.state.epoch != engine.state.epoch:  # else it is checked already
            self.check_epoch(engine)

    def _note_rate(self, engine: Engine) -> None:
        self.rate = self.optimizer.param_groups[0]["lr"]  # the schedule changes it before the step is checked

    def check_loss(self, engine: Engine) -> None:
        """Check the loss of the last step.

        Raises:
            InputError: when it is NaN or infinite.
        """
        loss = engine.state.output["loss"].item()
        if not math.isfinite(loss):
            raise self._error("loss", "a finite number", str(loss), engine)

    def check_epoch(self, engine: Engine) -> None:
        """Check loss, network and optimizer after the last step of an epoch.

        Raises:
            InputError: when a value is NaN or infinite.
        """
        self.check_loss(engine)
        states = ((name, value) for state in self.optimizer.state.values() for name, value in state.items())
        for kind, tensors in (("weights", self.network.state_dict().items()), ("optimizer", states)):
            name = first_undefined(tensors)
            if name is not None:
                raise self._error(kind, "finite numbers", f"NaN or infinity in {name}", engine)

    def _error(self, name: str, expected: str, found: str, engine: Engine) -> InputError:
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None]).item()
        remedy = "start anew with a lower --learning_rate"
        if self.checkpoint.exists():
            remedy = f"{self.checkpoint} is of the last good epoch: lower --learning_rate and pass --resume True"
        return InputError(
            f"{name}: expected {expected}, found {found} at step {engine.state.iteration} (learning rate "
            f"{self.rate:.3g}, gradient norm {norm:.3g}); {remedy}"
        )


def reject_undefined_score(evaluator: Engine) -> None:
    """Forget a best score that is not finite, or has a loss that is not; MONAI's evaluator takes any first one."""
    state = evaluator.state
    of_this_epoch = state.best_metric_epoch == state.epoch
    loss = float(state.metrics.get("loss", 0.0)) if of_this_epoch else 0.0
    if not math.isfinite(state.best_metric) or not math.isfinite(loss):
        logger.warning(
            f"validation {state.key_metric_name.replace('_', ' ')} is {state.best_metric} at epoch "
            f"{state.best_metric_epoch}, with loss {loss}; it is not taken as the best"
        )
        state.best_metric, state.best_metric_epoch = -1, -1


def first_undefined(tensors: Iterable[tuple[str, Any]]) -> str | None:
    """Name of the first tensor with a value that is NaN or infinite, or None.

    Args:
        tensors: by name; what is no floating-point tensor is ignored.
    """
    floating = [(name, one.detach()) for name, one in tensors if torch.is_tensor(one) and one.is_floating_point()]
    if get_total_norm([one for _, one in floating]).isfinite():
        return None
    return next((name for name, one in floating if not one.isfinite().all()), None)  # a norm of finite values overflows
