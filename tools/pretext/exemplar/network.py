"""Network of the exemplar task: encoder with a projection head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, build_mlp
from tools.utils import distributed
from tools.utils.errors import check_choice


class GlobalBatchNorm(nn.BatchNorm1d):
    """Batch norm of (N, channels) with the statistics of all ranks, on any device; `SyncBatchNorm` needs CUDA."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, channels)."""
        if not self.training:
            return super().forward(input)
        return super().forward(distributed.gather(input)).chunk(distributed.world_size())[distributed.rank()]


class ProjectionNetwork(EmbeddingNetwork):
    """Encoder and projection head that map every view to an L2-normalised embedding.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        embedding_dim: channels of an embedding.
        hidden_channels: width of the hidden layer of the projector.
        head_norm: ``layer``, or ``batch`` for the head of SimCLR with batch norm after both linear layers (Chen et al.,
            arXiv 2002.05709). Scans of the same body part have nearly equal features; batch norm removes what they
            share, without which all embeddings may become equal.

    Raises:
        InputError: if `head_norm` is unknown.
    """

    def __init__(
        self, encoder: nn.Module, embedding_dim: int = 128, hidden_channels: int = 256, head_norm: str = "layer"
    ) -> None:
        channels = encoder.channels[-1]
        if check_choice(head_norm, ("layer", "batch"), "head_norm") == "layer":
            head = build_mlp(channels, embedding_dim, [hidden_channels], dropout=0.0)
        else:
            head = nn.Sequential(
                GlobalBatchNorm(channels, affine=False),
                nn.Linear(channels, hidden_channels),
                GlobalBatchNorm(hidden_channels),
                nn.GELU(),
                nn.Linear(hidden_channels, embedding_dim),
                GlobalBatchNorm(embedding_dim, affine=False),
            )
        super().__init__(encoder, head)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (B, 2, embedding_dim) of norm 1, float32, of views (B, 2, C, *spatial)."""
        return F.normalize(self.encode(views).float(), dim=-1)
