"""Masked autoencoder: an encoder and a lightweight convolutional decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv
from torch import nn

from tools.networks.embedding import EmbeddingNetwork

#: a single group fits any number of channels, and images of a batch do not affect each other
NORM = ("group", {"num_groups": 1})


class MaskedAutoencoder(EmbeddingNetwork):
    """Masked autoencoder that reconstructs the masked patches from all feature maps of the encoder.

    The decoder is a feature pyramid (Lin et al., CVPR 2017). From the coarsest map to the finest, it applies one
    convolution, upsamples, and adds a linear projection of the encoder's next map. It is lightweight, so that the
    features have to be learnt by the encoder. `projector` embeds every position of the coarsest map, because the mean
    over an image is nearly the same for all images.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        patch_size: edge lengths of a masked patch, in voxels.
        embedding_dim: channels of an embedding and of every map of the decoder.
    """

    def __init__(self, encoder: nn.Module, patch_size: Sequence[int], embedding_dim: int = 32) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        dims = encoder.spatial_dims
        self.patch_size = tuple(patch_size)
        self.lateral = nn.ModuleList(Conv["conv", dims](width, embedding_dim, 1) for width in encoder.channels[:-1])
        self.blocks = nn.ModuleList(
            Convolution(dims, embedding_dim, embedding_dim, norm=NORM, act="GELU", adn_ordering="NA")
            for _ in encoder.channels[1:]
        )
        self.voxels = nn.Sequential(nn.GELU(), Conv["conv", dims](embedding_dim, encoder.in_channels, 1))

    def forward(self, inputs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Reconstruct the masked patches (B, masked, C, *patch), float32.

        Args:
            inputs: images (B, C, *spatial), 0 where masked, and masked cells (B, masked), numbered in raster order.

        Raises:
            InputError: if the images are too small for the encoder.
        """
        images, masked = inputs
        size = images.shape[2:]
        self.encoder.check_size(size)
        maps = self.encoder.features(images)
        x = self.projector(maps[-1].movedim(1, -1)).movedim(-1, 1)
        for lateral, block, finer in zip(reversed(self.lateral), self.blocks, maps[-2::-1], strict=True):
            x = _upsample(block(x), finer.shape[2:]) + lateral(finer)
        patches = patchify(_upsample(self.voxels(x).float(), size), self.patch_size)
        return patches[torch.arange(len(masked), device=masked.device)[:, None], masked]


def patchify(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Split images (B, C, *spatial) into patches (B, cells, C, *size), in raster order."""
    for axis, edge in enumerate(size):
        images = images.unflatten(2 + 2 * axis, (-1, edge))
    rank = 2 * len(size)
    return images.permute(0, *range(2, 2 + rank, 2), 1, *range(3, 3 + rank, 2)).flatten(1, len(size))


def _upsample(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=size, mode="trilinear" if x.ndim == 5 else "bilinear")
