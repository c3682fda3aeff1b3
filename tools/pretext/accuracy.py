"""Top-1 accuracy in which a tie counts as much as guessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce


def top1_correct(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Whether the target has the highest score: 1, or 1/n if it ties with n - 1 others, or 0.

    Scores within 1e-5 of the largest magnitude tie, because equal patches have equal embeddings only up to rounding.

    Args:
        scores: (..., K).
        target: (...), index of the right class.

    Returns:
        (...), float32.
    """
    scores = scores.detach().float()
    tolerance = 1e-5 * scores.abs().amax(-1, keepdim=True)
    top = scores >= scores.amax(-1, keepdim=True) - tolerance
    return top.gather(-1, target[..., None])[..., 0] / top.sum(-1)


class Top1Accuracy(Metric):
    """Mean of the correct answers over all valid targets, accumulated on the device and summed over ranks.

    Args:
        top1_correct: correct answers and mask from prediction and targets, see `PretextTask.top1_correct`.
        output_transform: prediction and targets from the output of the engine.
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
        """Start again."""
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
