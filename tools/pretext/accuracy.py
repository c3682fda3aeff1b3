"""Accuracy of picking the right one among several, where ties earn what guessing earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce


def top1_correct(scores: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Credit of each question: 1 if the answer scores highest, 1/n if it ties with n - 1 others, else 0.

    Scores closer than rounding (1e-5 of the largest magnitude) tie: equal patches get equal codes only up to the
    order in which a convolution adds.

    Args:
        scores: (..., K).
        answer: (...), index of the right one.

    Returns:
        Credit (...), float32.
    """
    scores = scores.detach().float()
    tolerance = 1e-5 * scores.abs().amax(-1, keepdim=True)
    top = scores >= scores.amax(-1, keepdim=True) - tolerance
    return top.gather(-1, answer[..., None])[..., 0] / top.sum(-1)


class Top1Accuracy(Metric):
    """Mean credit over all questions, accumulated on the device and summed over ranks.

    Args:
        credit: makes credit and mask from prediction and targets, as `tools.pretext.PretextTask.credit` does.
        output_transform: makes (prediction, targets) from the engine's output.
    """

    def __init__(
        self,
        credit: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        output_transform: Callable[..., Any] = lambda output: (output["pred"], output["label"]),
    ) -> None:
        self._credit_of = credit
        super().__init__(output_transform=output_transform)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._credit = torch.zeros((), dtype=torch.float64)
        self._count = torch.zeros((), dtype=torch.float64)

    @reinit__is_reduced
    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Add a batch."""
        credit, asked = self._credit_of(*output)
        self._credit = self._credit + (credit * asked).sum()
        self._count = self._count + asked.sum()

    @sync_all_reduce("_credit", "_count")
    def compute(self) -> float:
        """Return the accuracy; nan when nothing was asked."""
        return (self._credit / self._count).item()
