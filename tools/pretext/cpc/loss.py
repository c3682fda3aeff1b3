"""Losses of contrastive predictive coding: InfoNCE and binary cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.pretext.accuracy import top1_correct
from tools.utils.distributed import masked_mean
from tools.utils.errors import check_choice


def choice_scores(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick the scores of each question's candidates.

    Args:
        similarity: (B, Q, M), score of each of M codes for each of Q questions.
        candidates: (B, Q, 1 + K), columns of the positive (first) and of the K negatives; a question whose first
            column is negative is not asked.

    Returns:
        Scores (B, Q, 1 + K) with the positive first, and a mask (B, Q) of the questions that are asked.
    """
    return similarity.gather(-1, candidates.clamp(min=0)), candidates[..., 0] >= 0


def choice_correct(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Credit of picking the positive among candidates, see `choice_scores`.

    Args:
        similarity: (B, Q, M).
        candidates: (B, Q, 1 + K).

    Returns:
        Credit (B, Q) and the mask (B, Q) of questions asked.
    """
    scores, asked = choice_scores(similarity, candidates)
    return top1_correct(scores, torch.zeros_like(candidates[..., 0])), asked


class InfoNCE(nn.Module):
    """Cross-entropy of picking the positive among 1 + K candidates (van den Oord et al., arXiv 1807.03748, eq. 4).

    log(K + 1) minus the loss is a lower bound of the mutual information of context and target.
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return the mean over the questions asked, on all ranks; shapes as in `choice_scores`."""
        scores, asked = choice_scores(similarity, candidates)
        scores = scores.float()
        return masked_mean(scores.logsumexp(-1) - scores[..., 0], asked)


class BinaryChoice(nn.Module):
    """Is each candidate the one? Binary cross-entropy, positives and negatives weighted equally.

    With one negative this is the loss of the 2020 code of Taleb et al.; here for comparison with `InfoNCE`.
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return the mean over the questions asked, on all ranks; shapes as in `choice_scores`."""
        scores, asked = choice_scores(similarity, candidates)
        scores = scores.float()
        positive, negative = F.softplus(-scores[..., 0]), F.softplus(scores[..., 1:]).mean(-1)
        return masked_mean((positive + negative) / 2, asked)


def cpc_loss(name: str) -> nn.Module:
    """Return the loss of contrastive predictive coding by name: ``infonce`` or ``binary``.

    Raises:
        InputError: for another name.
    """
    losses = {"infonce": InfoNCE, "binary": BinaryChoice}
    return losses[check_choice(name, losses, "loss")]()
