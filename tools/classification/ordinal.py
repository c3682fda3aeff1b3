"""Ordinal regression of grades with cumulative binary targets: one logit "grade is at least k" for k = 1, 2, 3 …

For grades 0 to 4 there are four logits. The public code of Taleb et al. has a fifth target that is always 1, and
excludes images whose probabilities are all below 0.5. This implementation returns a grade for every vector of logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

REFERABLE = 2  # lowest grade of referable disease


def encode_grade(grades: torch.Tensor, num_grades: int = 5) -> torch.Tensor:
    """Return cumulative targets (B, num_grades - 1) float32 of grades (B,): 1 if the grade is at least 1, 2, 3 …"""
    return (grades[:, None] > torch.arange(num_grades - 1, device=grades.device)).float()


def decode_grade(logits: torch.Tensor) -> torch.Tensor:
    """Return grades (B,) int64 of logits (B, num_grades - 1): the number of positive logits."""
    return (logits > 0).sum(-1)


def grade_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (B, num_grades) of logits (B, num_grades - 1).

    The cumulative probabilities are made non-increasing by a running minimum.
    """
    at_least = F.pad(logits.float().sigmoid().cummin(-1).values, (1, 0), value=1.0)
    return at_least - F.pad(at_least[..., 1:], (0, 1))


def referable_probability(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability (B,) of a grade of at least `REFERABLE`, the sum of `grade_probabilities`."""
    return grade_probabilities(logits)[..., REFERABLE:].sum(-1)


def balanced_weights(grades: Sequence[int], num_grades: int = 5) -> torch.Tensor:
    """Return grade weights (num_grades,), the square root of the inverse frequency, with a mean of 1 over images.

    The square root limits the influence of the few images of rare grades. Absent grades get the weight of the rarest.
    """
    counts = torch.bincount(torch.as_tensor(grades), minlength=num_grades).float()
    rarest = counts[counts > 0].min()
    weights = counts.clamp(min=rarest).rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


class OrdinalLoss(nn.Module):
    """Mean binary cross-entropy of cumulative targets, optionally weighted by grade.

    Args:
        grades: grades of the training images, for `balanced_weights`; None for equal weights.
    """

    def __init__(self, grades: Sequence[int] | None = None) -> None:
        super().__init__()
        self.weights = balanced_weights(grades) if grades else None

    def forward(self, logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (B, num_grades - 1) for grades (B,)."""
        targets = encode_grade(grades, logits.shape[-1] + 1)
        losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(-1)
        if self.weights is None:
            return losses.mean()
        return (losses * self.weights.to(losses.device, non_blocking=True)[grades.long()]).mean()
