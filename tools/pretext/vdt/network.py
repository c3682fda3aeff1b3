"""Network of the variable dimension transform: an encoder and a linear classifier."""

from __future__ import annotations

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork


class VolumeClassifier(EmbeddingNetwork):
    """An encoder, the mean over its last map, and one linear layer (weights from N(0, 0.01), no bias at the start).

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        classes: number of answers.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__(encoder, nn.Identity())
        self.head = nn.Linear(encoder.channels[-1], classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Map volumes (B, 1, D, H, W) to scores (B, classes), float32."""
        return self.head(self.encode(volumes)).float()
