"""Network of relative patch location: classifier of patch pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, build_mlp


class PairClassifier(EmbeddingNetwork):
    """Classifier of pairs of the anchor patch and another patch.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        classes: number of classes.
        embedding_dim: channels of a patch embedding.
        hidden_channels: widths of the head's hidden layers.
        dropout: dropout probability of the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        embedding_dim: int = 128,
        hidden_channels: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.head = build_mlp(2 * embedding_dim, classes, hidden_channels, dropout)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches (B, 1 + V, C, *patch), the anchor first, to scores (B, V, classes)."""
        embeddings = self.encode(patches)
        anchor, others = embeddings[:, :1], embeddings[:, 1:]
        return self.head(torch.cat([anchor.expand_as(others), others], -1))
