"""Network of relative patch location: a classifier of patch pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, classifier


class PairClassifier(EmbeddingNetwork):
    """Classify pairs of an anchor with each of the other patches.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        classes: number of answers.
        embedding_dim: channels of a patch embedding.
        hidden: widths of the head's hidden layers.
        dropout: in the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        embedding_dim: int = 128,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.head = classifier(2 * embedding_dim, classes, hidden, dropout)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches (B, 1 + V, C, *patch), the anchor first, to scores (B, V, classes)."""
        embeddings = self.encode(patches)
        anchor, others = embeddings[:, :1], embeddings[:, 1:]
        return self.head(torch.cat([anchor.expand_as(others), others], -1))
