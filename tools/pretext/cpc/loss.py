"""Losses of contrastive predictive coding: InfoNCE and binary cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.pretext.accuracy import top1_correct
from tools.utils.distributed import masked_mean
from tools.utils.errors import check_choice


def candidate_scores(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gather the scores of the candidates of each prediction.

    Args:
        similarity: (B, Q, M), similarity of each of Q predictions with each of M embeddings.
        candidates: (B, Q, 1 + K), indices of the positive (first) and the K negatives; a prediction is invalid if its
            first index is negative.

    Returns:
        Scores (B, Q, 1 + K) with the positive first, and the mask (B, Q) of valid predictions.
    """
    return similarity.gather(-1, candidates.clamp(min=0)), candidates[..., 0] >= 0


def candidate_top1_correct(similarity: torch.Tensor, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute whether the positive has the highest score; arguments as for `candidate_scores`.

    Returns:
        Correctness (B, Q), 1/n for a tie of n, and the mask (B, Q) of valid predictions.
    """
    scores, valid = candidate_scores(similarity, candidates)
    return top1_correct(scores, torch.zeros_like(candidates[..., 0])), valid


class InfoNCE(nn.Module):
    """InfoNCE loss: cross-entropy of the positive among 1 + K candidates.

    log(K + 1) minus the loss is a lower bound on the mutual information of context and target (van den Oord et al.,
    arXiv 1807.03748, eq. 4 and 5).
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Compute the mean over the valid predictions of all ranks; shapes as in `candidate_scores`."""
        scores, valid = candidate_scores(similarity, candidates)
        scores = scores.float()
        return masked_mean(scores.logsumexp(-1) - scores[..., 0], valid)


class BinaryNCE(nn.Module):
    """Binary NCE loss: binary cross-entropy of each candidate, with equal total weight of positive and negatives.

    With one negative, this is the loss of the 2020 code of Taleb et al.
    """

    def forward(self, similarity: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Compute the mean over the valid predictions of all ranks; shapes as in `candidate_scores`."""
        scores, valid = candidate_scores(similarity, candidates)
        scores = scores.float()
        positive, negative = F.softplus(-scores[..., 0]), F.softplus(scores[..., 1:]).mean(-1)
        return masked_mean((positive + negative) / 2, valid)


def cpc_loss(name: str) -> nn.Module:
    """Return the loss of contrastive predictive coding by name: ``infonce`` or ``binary``.

    Raises:
        InputError: if `name` is unknown.
    """
    losses = {"infonce": InfoNCE, "binary": BinaryNCE}
    return losses[check_choice(name, losses, "loss")]()
