"""Base class of pretext networks, and multilayer perceptron heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class EmbeddingNetwork(nn.Module):
    """Encoder, global average pooling of its last map, and projection head.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        projector: projection head from (N, encoder channels) to embeddings (N, embedding_dim).
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Compute embeddings (*batch, embedding_dim) of single images (*batch, C, *spatial).

        Raises:
            InputError: if the images are too small for the encoder.
        """
        dims = self.encoder.spatial_dims
        self.encoder.check_size(images.shape[-dims:])
        batch = images.shape[: -dims - 1]
        features = self.encoder(images.flatten(0, len(batch) - 1))
        return self.projector(features.flatten(2).mean(-1)).unflatten(0, batch)


def build_mlp(in_channels: int, out_channels: int, hidden_channels: Sequence[int], dropout: float) -> nn.Sequential:
    """Build a multilayer perceptron with layer norm, GELU and dropout after each hidden layer.

    Args:
        in_channels: number of inputs.
        out_channels: number of outputs.
        hidden_channels: widths of the hidden layers.
        dropout: dropout probability.
    """
    widths = [in_channels, *hidden_channels]
    layers: list[nn.Module] = []
    for width, following in zip(widths, hidden_channels, strict=False):
        layers += [nn.Linear(width, following), nn.LayerNorm(following), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out_channels))
