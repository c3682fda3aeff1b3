"""Learning-rate schedules: factory by name, and resumable state of any PyTorch scheduler."""

from __future__ import annotations

import copy
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any

from monai.optimizers import WarmupCosineSchedule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tools.utils.errors import InputError, check_choice

MILESTONES = (0.3, 0.6, 0.9)  # epochs 30, 60 and 90 of 100
SCHEDULES = ("cosine", "step")


def build_schedule(
    name: str, optimizer: Optimizer, warmup_steps: int, total_steps: int, milestones: Sequence[float] = MILESTONES
) -> LambdaLR:
    """Build a learning-rate schedule that is stepped after every optimizer step.

    Args:
        name: ``cosine`` (to 0), or ``step`` (times 0.1 after each milestone).
        optimizer: optimizer.
        warmup_steps: steps of the linear warm-up from a tenth of the learning rate.
        total_steps: number of steps of the run.
        milestones: milestones of ``step`` as fractions of the run, ascending.

    Raises:
        InputError: if `name` is unknown.
    """
    if check_choice(name, SCHEDULES, "lr_schedule") == "cosine":
        return WarmupCosineSchedule(optimizer, warmup_steps, total_steps, warmup_multiplier=0.1)
    return LambdaLR(
        optimizer, partial(_step_factor, warmup=warmup_steps, total=total_steps, milestones=list(milestones))
    )


def _step_factor(step: int, warmup: int, total: int, milestones: list[float]) -> float:
    if step < warmup:
        return 0.1 + 0.9 * step / warmup
    return 0.1 ** bisect_right(milestones, step / total)


class ResumableSchedule:
    """Resumable state of any PyTorch scheduler.

    A resumed schedule equals an uninterrupted one bit for bit. If the configuration has changed, for example the
    learning rate or the number of steps, the new schedule is advanced to the current step. A scheduler that follows a
    metric keeps its position, and a changed learning rate scales the saved one.

    Args:
        scheduler: scheduler before its first step.
        optimizer: optimizer of the scheduler.
    """

    def __init__(self, scheduler: LRScheduler, optimizer: Optimizer) -> None:
        self.scheduler = scheduler
        self.optimizer = optimizer
        self.fresh = copy.deepcopy(scheduler.state_dict())
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # as most schedulers do

    def state_dict(self) -> dict[str, Any]:
        """Return the entries that training has changed, and the initial state as text for comparison."""
        return {"position": _changed(self.scheduler.state_dict(), self.fresh), "configuration": repr(self.fresh)}

    def load_state_dict(self, state: dict[str, Any], groups: Sequence[dict[str, Any]]) -> None:
        """Continue from a saved state.

        Args:
            state: result of `state_dict`.
            groups: ``param_groups`` of the saved optimizer.

        Raises:
            InputError: if the schedule is shorter than the number of steps taken.
        """
        position = state.get("position", state)  # earlier versions saved nothing else
        metric = signature(self.scheduler.step).parameters.get("metrics") is not None
        if not metric and state.get("configuration") != repr(self.fresh):
            self._repeat(_steps_taken(position))
            return
        self.scheduler.load_state_dict(_merge(self.scheduler.state_dict(), position))
        for group, saved in zip(self.optimizer.param_groups, groups, strict=True):
            group["lr"] = saved["lr"] * (group["initial_lr"] / saved["initial_lr"])
            group.update({key: saved[key] for key in ("momentum", "betas") if key in saved})  # some schedules cycle

    def _repeat(self, steps: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about scheduler steps without optimizer steps
                for _ in range(steps):
                    self.scheduler.step()
        except ValueError as error:
            raise InputError(f"scheduler: expected a schedule of at least {steps} steps, found {error}") from error


def _changed(state: Any, fresh: Any) -> Any:
    """Return the entries of a scheduler's state that differ from the initial state."""
    if isinstance(state, dict):
        return {key: _changed(one, fresh.get(key)) for key, one in state.items() if one != fresh.get(key)}
    if isinstance(state, list) and any(isinstance(one, dict) for one in state):  # nested schedulers
        return [_changed(one, other) for one, other in zip(state, fresh, strict=True)]
    return state


def _merge(state: Any, changed: Any) -> Any:
    if isinstance(changed, dict):
        return {**state, **{key: _merge(state.get(key), one) for key, one in changed.items()}}
    if isinstance(changed, list) and any(isinstance(one, dict) for one in changed):
        return [_merge(one, other) for one, other in zip(state, changed, strict=True)]
    return changed


def _steps_taken(position: dict[str, Any]) -> int:
    """Return the number of steps from the changed entries of a state; chained schedulers do not count steps."""
    inner = position.get("_schedulers") or [{}]
    return position.get("last_epoch", inner[0].get("last_epoch", 0))
