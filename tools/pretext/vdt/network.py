"""Network of the variable dimension transform: encoder and linear classifier."""

from __future__ import annotations

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork


class VolumeClassifier(EmbeddingNetwork):
    """Encoder, global average pooling and a linear layer with weights from N(0, 0.01²) and zero bias.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        classes: number of classes.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__(encoder, nn.Identity())
        self.head = nn.Linear(encoder.channels[-1], classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Compute scores (B, classes), float32, of volumes (B, 1, D, H, W)."""
        return self.head(self.encode(volumes)).float()
