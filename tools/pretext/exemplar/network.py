"""Network of the exemplar task: an encoder with a projector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, classifier


class ProjectionNetwork(EmbeddingNetwork):
    """Embed every view on the unit sphere, with one shared projector.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        embedding_dim: channels of an embedding.
        hidden: width of the hidden layer of the projector.
    """

    def __init__(self, encoder: nn.Module, embedding_dim: int = 128, hidden: int = 256) -> None:
        super().__init__(encoder, classifier(encoder.channels[-1], embedding_dim, [hidden], dropout=0.0))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Map views (B, 2, C, *spatial) to embeddings (B, 2, embedding_dim) of length 1, float32."""
        return F.normalize(self.encode(views).float(), dim=-1)
