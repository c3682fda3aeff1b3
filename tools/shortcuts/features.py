"""Encoder of handcrafted intensity statistics, for the shortcut test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.encoders import Encoder


class HandcraftedFeatures(Encoder):
    """Intensity statistics of a patch followed by a small multilayer perceptron.

    The statistics of each channel are mean, standard deviation, minimum, maximum and fraction of zeros. For each axis
    they also include the mean absolute difference of neighbouring voxels and the means of both halves and both faces.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of channels of a patch.
        width: number of output channels.
    """

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, width: int = 32) -> None:
        super().__init__([width], [1], spatial_dims, in_channels, min_size=2)
        features = in_channels * (5 + 5 * spatial_dims)
        self.mix = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 64), nn.GELU(), nn.Linear(64, width))

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the size of the only map, 1 along each axis."""
        return [(1,) * self.spatial_dims]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features (B, width, 1, ...) of patches (B, C, *spatial)."""
        flat = x.flatten(2)
        statistics = [flat.mean(-1), flat.std(-1), flat.amin(-1), flat.amax(-1), (flat == 0).to(x.dtype).mean(-1)]
        for axis in range(2, x.ndim):
            statistics.append(x.diff(dim=axis).abs().flatten(2).mean(-1))
            statistics.extend(half.flatten(2).mean(-1) for half in x.tensor_split(2, axis))
            statistics.extend(x.select(axis, side).flatten(2).mean(-1) for side in (0, -1))
        mixed = self.mix(torch.cat(statistics, 1))
        return mixed.reshape(*mixed.shape, *[1] * self.spatial_dims)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of patches (B, C, *spatial) as a list with a single map."""
        return [self(x)]
