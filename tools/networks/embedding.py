"""Base class of pretext networks: an encoder, global average pooling and a projector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.utils.errors import InputError


class EmbeddingNetwork(nn.Module):
    """An encoder, global average pooling of its last map, and a projector to an embedding.

    Args:
        encoder: see `tools.networks.encoder`.
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
        self.refuse_small(images.shape[-dims:])
        batch = images.shape[: -dims - 1]
        features = self.encoder(images.flatten(0, len(batch) - 1))
        return self.projector(features.flatten(2).mean(-1)).unflatten(0, batch)

    def refuse_small(self, size: Sequence[int]) -> None:
        """Raise an `InputError` where images of a size are too small for the encoder."""
        smallest = [self.encoder.min_depth, *[self.encoder.min_size] * (len(size) - 1)]
        if any(edge < least for edge, least in zip(size, smallest, strict=True)):
            wanted = f"{smallest[-1]} along each axis" if len({*smallest}) == 1 else " x ".join(map(str, smallest))
            raise InputError(
                f"roi_size: pieces of {list(size)} voxels are too small for this encoder, which needs at least "
                f"{wanted}; choose a larger roi_size or depth, or fewer cells if there is a grid"
            )


def classifier(in_channels: int, classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """A small fully connected network: normalised layers of some widths, dropout, then the classes.

    Args:
        in_channels: channels of the input.
        classes: number of outputs.
        hidden: widths of the hidden layers.
        dropout: share of dropped values after each of them.
    """
    widths = [in_channels, *hidden]
    layers: list[nn.Module] = []
    for width, following in zip(widths, hidden, strict=False):
        layers += [nn.Linear(width, following), nn.LayerNorm(following), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
