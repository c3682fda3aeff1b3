"""Grades in order, coded as "at least k": one score for each grade above the lowest.

For grades 0 to 4 there are four scores. The public code of Taleb et al. has a fifth that is always 1 and carries
nothing, and drops pictures for which no score exceeds one half; here every vector of scores gives a grade.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

REFERABLE = 2  # grades from here on are referable disease


def encode_grade(grades: torch.Tensor, num_grades: int = 5) -> torch.Tensor:
    """Cumulative targets (B, num_grades - 1) float32 of grades (B,): 1 where the grade is at least 1, 2, 3 …"""
    return (grades[:, None] > torch.arange(num_grades - 1, device=grades.device)).float()


def decode_grade(logits: torch.Tensor) -> torch.Tensor:
    """Grades (B,) int64 of scores (B, num_grades - 1): how many are positive, in whatever order."""
    return (logits > 0).sum(-1)


def grade_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities (B, num_grades) of scores (B, num_grades - 1).

    "At least k" never becomes likelier as k grows, so a score above those before it is brought down to them.
    """
    above = F.pad(logits.float().sigmoid().cummin(-1).values, (1, 0), value=1.0)
    return above - F.pad(above[..., 1:], (0, 1))


def referable_probability(logits: torch.Tensor) -> torch.Tensor:
    """Probability (B,) of a grade of at least `REFERABLE`, consistent with `grade_probabilities`."""
    return grade_probabilities(logits)[..., REFERABLE:].sum(-1)


def balanced_weights(grades: Sequence[int], num_grades: int = 5) -> torch.Tensor:
    """Weights (num_grades,) by the square root of the inverse frequency, 1 on average over the pictures.

    The square root keeps the few pictures of rare grades from ruling the gradient. Absent grades weigh as the rarest.
    """
    counts = torch.bincount(torch.as_tensor(grades), minlength=num_grades).float()
    rarest = counts[counts > 0].min()
    weights = counts.clamp(min=rarest).rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


class OrdinalLoss(nn.Module):
    """Binary cross-entropy of every "at least k", averaged; pictures weigh by their grade.

    Args:
        grades: of the training pictures, for `balanced_weights`; None weighs all alike.
    """

    def __init__(self, grades: Sequence[int] | None = None) -> None:
        super().__init__()
        self.weights = balanced_weights(grades) if grades else None

    def forward(self, logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
        """Return the loss of scores (B, num_grades - 1) for grades (B,)."""
        targets = encode_grade(grades, logits.shape[-1] + 1)
        losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(-1)
        if self.weights is None:
            return losses.mean()
        return (losses * self.weights.to(losses.device, non_blocking=True)[grades.long()]).mean()
