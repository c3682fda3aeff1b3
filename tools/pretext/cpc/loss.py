"""Losses of contrastive predictive coding: InfoNCE and binary cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.pretext.accuracy import top1_correct
from tools.utils.distributed import masked_mean
from tools.utils.errors import check_choice


def choice_scores(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the candidates of each prediction.

    Args:
        similarity: (B, Q, M), similarity of each of Q predictions with each of M embeddings.
        candidates: (B, Q, 1 + K), columns of the positive (first) and of the K negatives; a prediction whose first
            column is negative is invalid.

    Returns:
        Scores (B, Q, 1 + K) with the positive first, and the mask (B, Q) of valid predictions.
    """
    return similarity.gather(-1, candidates.clamp(min=0)), candidates[..., 0] >= 0


def choice_correct(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether the positive has the highest score of the candidates; arguments as for `choice_scores`.

    Returns:
        Correct (B, Q), 1/n for a tie of n, and the mask (B, Q) of valid predictions.
    """
    scores, valid = choice_scores(similarity, candidates)
    return top1_correct(scores, torch.zeros_like(candidates[..., 0])), valid


class InfoNCE(nn.Module):
    """Cross-entropy of picking the positive among 1 + K candidates (van den Oord et al., arXiv 1807.03748, eq. 4).

    log(K + 1) minus the loss is a lower bound of the mutual information of context and target.
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return the mean over the valid predictions of all ranks; shapes as in `choice_scores`."""
        scores, valid = choice_scores(similarity, candidates)
        scores = scores.float()
        return masked_mean(scores.logsumexp(-1) - scores[..., 0], valid)


class BinaryChoice(nn.Module):
    """Binary cross-entropy of each candidate, with equal weight of the positive and of all negatives.

    With one negative this is the loss of the 2020 code of Taleb et al.
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Return the mean over the valid predictions of all ranks; shapes as in `choice_scores`."""
        scores, valid = choice_scores(similarity, candidates)
        scores = scores.float()
        positive, negative = F.softplus(-scores[..., 0]), F.softplus(scores[..., 1:]).mean(-1)
        return masked_mean((positive + negative) / 2, valid)


def cpc_loss(name: str) -> nn.Module:
    """Return the loss of contrastive predictive coding by name: ``infonce`` or ``binary``.

    Raises:
        InputError: for another name.
    """
    losses = {"infonce": InfoNCE, "binary": BinaryChoice}
    return losses[check_choice(name, losses, "loss")]()
