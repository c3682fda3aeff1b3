"""Losses of the pretext tasks and of segmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.utils import compute_tp_fp_fn
from torch import nn

from tools.distributed import gather, masked_mean
from tools.errors import known
from tools.segmentation import LabelCoding


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
    return losses[known(name, losses, "loss")]()


class AskedCrossEntropy(nn.Module):
    """Cross-entropy of classes, over the questions that are asked."""

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over all ranks; `scores` (B, V, classes), `targets` (B, V), negative where not asked."""
        losses = F.cross_entropy(scores.float().movedim(-1, 1), targets.clamp(min=0), reduction="none")
        return masked_mean(losses, targets >= 0)


class TripletLoss(nn.Module):
    """Is a view closer to its twin than to views of other cases, by a margin? (Schroff et al., CVPR 2015)

    The negatives of an anchor are the views of other cases in the global batch that lie within the margin behind its
    twin (semi-hard) or before it (hard), averaged. Semi-hard ones alone would be chosen for being far: a network that
    cannot tell twin from stranger lowers that loss by spreading its embeddings. Both together cost such a network the
    margin at least. A memory bank of the last embeddings trained on adds hard negatives only: it can make the task
    harder, but moving away from what is remembered gains nothing.

    Distances are Euclidean, not squared: their gradient does not fade as embeddings draw together (Hermans et al.,
    arXiv 1703.07737).

    Args:
        channels: channels of an embedding.
        margin: of the hinge.
        bank_size: embeddings remembered; 0 for none.
        device: where the bank is kept.

    Attributes:
        bank: (bank_size, channels).
        bank_case: number of the case of each, (bank_size,), -1 where there is none yet.
        bank_next: where the next one goes, (1,).
    """

    def __init__(
        self, channels: int, margin: float = 0.3, bank_size: int = 256, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("bank", torch.zeros(bank_size, channels, device=device))
        self.register_buffer("bank_case", torch.full((bank_size,), -1, device=device))
        self.register_buffer("bank_next", torch.zeros(1, dtype=torch.int64, device=device))

    def forward(self, embeddings: torch.Tensor, cases: torch.Tensor) -> torch.Tensor:
        """Return the mean over all anchors on all ranks.

        Args:
            embeddings: (B, 2, channels), normalised: two views of each image. Only those that carry gradients meet
                the bank, and are remembered in it.
            cases: number of each image's case, (B,), not negative.
        """
        embeddings = embeddings.float()
        training = embeddings.requires_grad
        everyone, case = gather(embeddings).flatten(0, 1), gather(cases).repeat_interleave(2)
        pool = torch.cat([everyone, self.bank]) if training else everyone
        pool_case = torch.cat([case, self.bank_case]) if training else case
        anchors, twins = embeddings.flatten(0, 1), embeddings.flip(1).flatten(0, 1)
        positive = _distances(anchors, twins)[:, None]
        negatives = _distances(anchors[:, None], pool)
        foreign = (pool_case >= 0) & (pool_case != cases.repeat_interleave(2)[:, None])
        fresh = torch.arange(len(pool), device=pool.device) < len(everyone)
        chosen = foreign & (fresh & (negatives < positive + self.margin) | (negatives < positive))
        losses = F.relu(positive - negatives + self.margin) * chosen
        losses = losses.sum(1) / chosen.sum(1).clamp(min=1)
        if training:
            self._remember(everyone.detach(), case)
        return masked_mean(losses, foreign.any(1))

    def _remember(self, embeddings: torch.Tensor, cases: torch.Tensor) -> None:
        size = len(self.bank)
        if size:
            places = (self.bank_next + torch.arange(min(len(cases), size), device=cases.device)) % size
            self.bank[places], self.bank_case[places] = embeddings[-size:], cases[-size:]
            self.bank_next.copy_((self.bank_next + len(places)) % size)


def _distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Euclidean distances along the last dim, with gradient 0 between equal points."""
    return ((one - other).square().sum(-1) + 1e-12).sqrt()


class DiceCrossEntropy(nn.Module):
    """Soft Dice of the structures plus cross-entropy of the voxels, equally weighted (Isensee et al., 2021).

    Dice is of the whole batch, so that a structure missing from one crop does no harm, and never of the background.
    While training the batch is that of all ranks; cases are validated one by one, each rank its own number.

    Args:
        coding: what the channels mean.
    """

    def __init__(self, coding: LabelCoding) -> None:
        super().__init__()
        self.coding = coding

    def forward(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of scores (B, channels, *spatial) for labels (B, 1, *spatial)."""
        scores, targets = scores.float(), self.coding.targets(labels)
        if self.coding.exclusive:
            entropy = F.cross_entropy(scores, labels[:, 0].long())
        else:
            entropy = F.binary_cross_entropy_with_logits(scores, targets)
        return self.dice(scores, targets) + entropy

    def dice(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the Dice part for scores and targets, both (B, channels, *spatial)."""
        shares = scores.softmax(1)[:, 1:] if self.coding.exclusive else scores.sigmoid()
        targets = targets[:, 1:] if self.coding.exclusive else targets
        axes = [0, *range(2, scores.ndim)]
        counts = torch.stack(compute_tp_fp_fn(shares, targets, axes, ord=1, soft_label=False))
        hit, excess, missed = gather(counts[None]).sum(0) if scores.requires_grad else counts
        smooth = 1e-5  # what neither has is no error
        return (1 - (2 * hit + smooth) / (2 * (hit + excess / 2 + missed / 2) + smooth)).mean()
