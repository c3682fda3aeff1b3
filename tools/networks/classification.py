"""From an encoder's last map to a few scores for the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.embedding import classifier
from tools.networks.encoder import Encoder


class ClassificationNetwork(nn.Module):
    """Scores of an image from the mean over space of the encoder's last map: what pretraining pooled, too.

    The means are standardised over the batch before the head, as for linear probes (He et al., CVPR 2022): what all
    images have in common outweighs what tells them apart, and a fresh head would first have to learn to pass over it.

    Args:
        encoder: see `tools.networks.encoder`.
        out_channels: scores per image.
        hidden: widths of hidden layers; none makes the head linear.
        dropout: share of dropped values after each of them.
    """

    def __init__(self, encoder: Encoder, out_channels: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.standardise = nn.BatchNorm1d(encoder.channels[-1], affine=False)
        self.head = classifier(encoder.channels[-1], out_channels, hidden, dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels)."""
        return self.head(self.standardise(self.encoder(image).flatten(2).mean(-1)))
