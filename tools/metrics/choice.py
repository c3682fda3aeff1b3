"""Accuracy of picking the right one among candidates, where ties earn what guessing earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

from tools.losses import choice_scores


def choice_correct(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Credit of each question: 1 if the positive scores highest, 1/n if it ties with n - 1 others, else 0.

    Scores closer than rounding (1e-5 of the largest magnitude) tie: equal patches get equal codes only up to the
    order in which a convolution adds.

    Args:
        similarity: (B, Q, M), see `tools.losses.choice_scores`.
        candidates: (B, Q, 1 + K).

    Returns:
        Credit (B, Q) and the mask (B, Q) of questions asked.
    """
    scores, asked = choice_scores(similarity.detach().float(), candidates)
    tolerance = 1e-5 * scores.abs().amax(-1, keepdim=True)
    top = scores >= scores.amax(-1, keepdim=True) - tolerance
    return top[..., 0] / top.sum(-1), asked


class ChoiceAccuracy(Metric):
    """Mean credit of `choice_correct` over all questions, accumulated on the device and summed over ranks.

    Args:
        output_transform: makes (similarity, candidates) from the engine's output.
    """

    def __init__(self, output_transform: Callable[..., Any] = lambda output: (output["pred"], output["label"])) -> None:
        super().__init__(output_transform=output_transform)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._credit = torch.zeros((), dtype=torch.float64)
        self._count = torch.zeros((), dtype=torch.float64)

    @reinit__is_reduced
    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Add a batch."""
        credit, asked = choice_correct(*output)
        self._credit = self._credit.to(credit.device) + (credit * asked).sum()
        self._count = self._count.to(credit.device) + asked.sum()

    @sync_all_reduce("_credit", "_count")
    def compute(self) -> float:
        """Return the accuracy; nan when nothing was asked."""
        return (self._credit / self._count).item()
