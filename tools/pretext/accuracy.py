"""Top-1 accuracy with fractional credit for ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce


def top1_correct(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute whether the target has the highest score: 1, 0, or 1/n for a tie of n classes.

    Scores tie if they differ by at most 1e-5 of the largest magnitude, because equal patches have equal embeddings
    only up to rounding.

    Args:
        scores: (..., K).
        target: (...), index of the true class.

    Returns:
        (...), float32.
    """
    scores = scores.detach().float()
    tolerance = 1e-5 * scores.abs().amax(-1, keepdim=True)
    top = scores >= scores.amax(-1, keepdim=True) - tolerance
    return top.gather(-1, target[..., None])[..., 0] / top.sum(-1)


class Top1Accuracy(Metric):
    """Top-1 accuracy over all valid targets, accumulated on the device and summed over ranks.

    Args:
        top1_correct: maps prediction and targets to correctness and mask, see `PretextTask.top1_correct`.
        output_transform: maps the engine's output to prediction and targets.
    """

    def __init__(
        self,
        top1_correct: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        output_transform: Callable[..., Any] = lambda output: (output["pred"], output["label"]),
    ) -> None:
        self._top1_correct = top1_correct
        super().__init__(output_transform=output_transform, skip_unrolling=True)

    @reinit__is_reduced
    def reset(self) -> None:
        """Reset the counts."""
        self._correct = torch.zeros((), dtype=torch.float64)
        self._count = torch.zeros((), dtype=torch.float64)

    @reinit__is_reduced
    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Add a batch."""
        correct, valid = self._top1_correct(*output)
        self._correct = self._correct + (correct * valid).sum()
        self._count = self._count + valid.sum()

    @sync_all_reduce("_correct", "_count")
    def compute(self) -> float:
        """Return the accuracy; NaN without a valid target."""
        return (self._correct / self._count).item()
