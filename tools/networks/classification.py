"""Classification network: global average pooling of an encoder's last map and a classification head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.embedding import build_mlp
from tools.networks.encoders.encoder import Encoder


class ClassificationNetwork(nn.Module):
    """Classifier of images: global average pooling of the encoder's last map, batch norm and a head.

    The pooled features are standardised over the batch before the head, as for linear probes (He et al., CVPR 2022).
    Without standardisation, their common mean exceeds the differences between images.

    Args:
        encoder: see `Encoder`.
        out_channels: number of scores per image.
        hidden_channels: widths of the hidden layers; empty for a linear head.
        dropout: dropout probability after each hidden layer.
    """

    def __init__(
        self, encoder: Encoder, out_channels: int, hidden_channels: Sequence[int] = (), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.standardise = nn.BatchNorm1d(encoder.channels[-1], affine=False)
        self.head = build_mlp(encoder.channels[-1], out_channels, hidden_channels, dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels)."""
        if not torch.jit.is_scripting():
            self.encoder.check_size(image.shape[2:])
        return self.head(self.standardise(self.encoder(image).flatten(2).mean(-1)))
