"""Triplet loss of the exemplar task, with a queue of earlier embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.utils.distributed import gather, masked_mean


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
