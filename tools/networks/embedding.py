"""The part all pretext networks share: images or patches, each encoded alone, to one code each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class EmbeddingNetwork(nn.Module):
    """A shared encoder, the mean over space of its last map, and a map of that to a code.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        embed: maps (N, encoder channels) to codes (N, code channels).
    """

    def __init__(self, encoder: nn.Module, embed: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.embed = embed

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images (*batch, C, *spatial), each alone, to codes (*batch, code channels).

        Raises:
            InputError: the images are too small for the encoder.
        """
        dims = self.encoder.spatial_dims
        self.check_size(images.shape[-dims:])
        batch = images.shape[: -dims - 1]
        features = self.encoder(images.flatten(0, len(batch) - 1))
        return self.embed(features.flatten(2).mean(-1)).unflatten(0, batch)

    def check_size(self, size: Sequence[int]) -> None:
        """Raise an `InputError` where images of a size are too small for the encoder."""
        remedy = "; choose a larger roi_size or depth, or fewer cells if there is a grid"
        self.encoder.check_size(size, remedy=remedy)


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
