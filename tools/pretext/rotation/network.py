"""Network of the rotation task: classifier of single views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, build_mlp


class ViewClassifier(EmbeddingNetwork):
    """Classifier of single views.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        classes: number of classes.
        embedding_dim: channels of a view's embedding.
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
        self.head = build_mlp(embedding_dim, classes, hidden_channels, dropout)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Map views (B, V, C, *spatial) to scores (B, V, classes)."""
        return self.head(self.encode(views))
