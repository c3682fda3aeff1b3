"""Learning-rate schedules by name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from monai.optimizers import WarmupCosineSchedule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tools.utils.errors import check_choice

MILESTONES = (0.3, 0.6, 0.9)  # epochs 30, 60 and 90 of 100
SCHEDULES = ("cosine", "step")


def build_schedule(
    name: str, optimizer: Optimizer, warmup_steps: int, total_steps: int, milestones: Sequence[float] = MILESTONES
) -> LambdaLR:
    """Build a schedule that is told of every step.

    Args:
        name: ``cosine`` (to 0), or ``step`` (a tenth after each milestone).
        optimizer: whose rate it sets.
        warmup_steps: steps from a tenth of the rate to all of it.
        total_steps: of the run.
        milestones: of ``step``, as shares of the run, rising.

    Raises:
        InputError: for another name.
    """
    if check_choice(name, SCHEDULES, "schedule") == "cosine":
        return WarmupCosineSchedule(optimizer, warmup_steps, total_steps, warmup_multiplier=0.1)
    return LambdaLR(optimizer, partial(_in_steps, warmup=warmup_steps, total=total_steps, milestones=list(milestones)))


def _in_steps(step: int, warmup: int, total: int, milestones: list[float]) -> float:
    if step < warmup:
        return 0.1 + 0.9 * step / warmup
    return 0.1 ** bisect_right(milestones, step / total)
