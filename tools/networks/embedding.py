"""Base class of pretext networks: an encoder, global average pooling and a projector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class EmbeddingNetwork(nn.Module):
    """An encoder, global average pooling of its last map, and a projector to an embedding.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        projector: maps (N, encoder channels) to embeddings (N, embedding_dim).
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images (*batch, C, *spatial), each alone, to embeddings (*batch, embedding_dim).

        Raises:
            InputError: the images are too small for the encoder.
        """
        dims = self.encoder.spatial_dims
        self.encoder.check_size(images.shape[-dims:])
        batch = images.shape[: -dims - 1]
        features = self.encoder(images.flatten(0, len(batch) - 1))
        return self.projector(features.flatten(2).mean(-1)).unflatten(0, batch)


def build_mlp(in_channels: int, classes: int, hidden_channels: Sequence[int], dropout: float) -> nn.Sequential:
    """A small fully connected network: normalised layers of some widths, dropout, then the classes.

    Args:
        in_channels: channels of the input.
        classes: number of outputs.
        hidden_channels: widths of the hidden layers.
        dropout: share of dropped values after each of them.
    """
    widths = [in_channels, *hidden_channels]
    layers: list[nn.Module] = []
    for width, following in zip(widths, hidden_channels, strict=False):
        layers += [nn.Linear(width, following), nn.LayerNorm(following), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
