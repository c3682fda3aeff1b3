"""Losses of the exemplar task: triplet loss with a memory bank, and NT-Xent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.utils.distributed import gather, masked_mean
from tools.utils.errors import check_choice


class TripletLoss(nn.Module):
    """Triplet loss with semi-hard and hard negatives and a memory bank (Schroff et al., CVPR 2015).

    The positive of an anchor is the other view of its image. Negatives are views of other cases in the global batch
    that are closer than the positive (hard) or at most the margin farther away (semi-hard). The loss is the mean over
    all negatives.

    With semi-hard negatives alone, a network without useful features could lower the loss by spreading its embeddings.
    With both, its expected loss is at least the margin. A memory bank of the latest training embeddings adds hard
    negatives only, so moving away from the bank does not lower the loss.

    Distances are Euclidean and not squared, because the gradient then does not vanish for close embeddings (Hermans et
    al., arXiv 1703.07737).

    Args:
        embedding_dim: channels of an embedding.
        margin: margin of the hinge.
        queue_size: number of embeddings in the memory bank; 0 for no bank.
        device: device of the memory bank.

    Attributes:
        bank: (queue_size, embedding_dim).
        bank_case: case number of each embedding, (queue_size,); -1 if empty.
        bank_next: index of the next embedding to replace, (1,).
    """

    def __init__(
        self, embedding_dim: int, margin: float = 0.3, queue_size: int = 256, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("bank", torch.zeros(queue_size, embedding_dim, device=device))
        self.register_buffer("bank_case", torch.full((queue_size,), -1, device=device))
        self.register_buffer("bank_next", torch.zeros(1, dtype=torch.int64, device=device))

    def forward(self, embeddings: torch.Tensor, cases: torch.Tensor) -> torch.Tensor:
        """Compute the mean over all anchors of all ranks.

        Args:
            embeddings: (B, 2, embedding_dim), L2-normalised embeddings of two views per image. The memory bank is used
                and filled only if they require gradients.
            cases: case number of each image, (B,), not negative.
        """
        embeddings = embeddings.float()
        training = embeddings.requires_grad
        batch, batch_case = gather(embeddings).flatten(0, 1), gather(cases).repeat_interleave(2)
        candidates = torch.cat([batch, self.bank]) if training else batch
        case = torch.cat([batch_case, self.bank_case]) if training else batch_case
        anchors, positives = embeddings.flatten(0, 1), embeddings.flip(1).flatten(0, 1)
        positive = _distances(anchors, positives)[:, None]
        distance = _distances(anchors[:, None], candidates)
        negative = (case >= 0) & (case != cases.repeat_interleave(2)[:, None])
        in_batch = torch.arange(len(candidates), device=candidates.device) < len(batch)
        selected = negative & (in_batch & (distance < positive + self.margin) | (distance < positive))
        losses = F.relu(positive - distance + self.margin) * selected
        losses = losses.sum(1) / selected.sum(1).clamp(min=1)
        if training:
            self._enqueue(batch.detach(), batch_case)
        return masked_mean(losses, negative.any(1))

    def _enqueue(self, embeddings: torch.Tensor, cases: torch.Tensor) -> None:
        size = len(self.bank)
        if size:
            slots = (self.bank_next + torch.arange(min(len(cases), size), device=cases.device)) % size
            self.bank[slots], self.bank_case[slots] = embeddings[-size:], cases[-size:]
            self.bank_next.copy_((self.bank_next + len(slots)) % size)


class NTXentLoss(nn.Module):
    """Normalised temperature-scaled cross-entropy (NT-Xent) of SimCLR (Chen et al., arXiv 2002.05709, eq. 1).

    The positive is the other view of the same image. The negatives are the views of all other cases in the global
    batch; other images of the same case are ignored.

    Args:
        temperature: divides the cosine similarity.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: torch.Tensor, cases: torch.Tensor) -> torch.Tensor:
        """Compute the mean over all views of all ranks that have a negative.

        Args:
            embeddings: (B, 2, embedding_dim), L2-normalised embeddings of two views per image.
            cases: case number of each image, (B,).
        """
        embeddings = embeddings.float()
        views, case = embeddings.flatten(0, 1), cases.repeat_interleave(2)
        candidates, candidate_case = gather(embeddings).flatten(0, 1), gather(cases).repeat_interleave(2)
        with torch.autocast(embeddings.device.type, enabled=False):
            similarity = views @ candidates.T / self.temperature
        positive = (views * embeddings.flip(1).flatten(0, 1)).sum(-1) / self.temperature
        negative = case[:, None] != candidate_case
        scores = torch.cat([positive[:, None], similarity.masked_fill(~negative, -torch.inf)], 1)
        return masked_mean(scores.logsumexp(1) - positive, negative.any(1))


def exemplar_loss(
    name: str,
    embedding_dim: int,
    margin: float = 0.3,
    queue_size: int = 256,
    temperature: float = 0.1,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Build the loss of the exemplar task by name.

    Args:
        name: ``triplet`` for `TripletLoss`, ``nt_xent`` for `NTXentLoss`.
        embedding_dim: channels of an embedding.
        margin: margin of ``triplet``.
        queue_size: number of embeddings in the memory bank of ``triplet``.
        temperature: temperature of ``nt_xent``.
        device: device of the memory bank.

    Raises:
        InputError: if `name` is unknown.
    """
    if check_choice(name, ("triplet", "nt_xent"), "loss") == "nt_xent":
        return NTXentLoss(temperature)
    return TripletLoss(embedding_dim, margin, queue_size, device)


def _distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distance along the last dim, with gradient 0 for equal points."""
    return ((one - other).square().sum(-1) + 1e-12).sqrt()
