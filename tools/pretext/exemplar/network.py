"""Network of the exemplar task: encoder with a projection head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, build_mlp


class ProjectionNetwork(EmbeddingNetwork):
    """Encoder and projection head that map every view to an L2-normalised embedding.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        embedding_dim: channels of an embedding.
        hidden_channels: width of the hidden layer of the projector.
    """

    def __init__(self, encoder: nn.Module, embedding_dim: int = 128, hidden_channels: int = 256) -> None:
        super().__init__(encoder, build_mlp(encoder.channels[-1], embedding_dim, [hidden_channels], dropout=0.0))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (B, 2, embedding_dim) of norm 1, float32, of views (B, 2, C, *spatial)."""
        return F.normalize(self.encode(views).float(), dim=-1)
