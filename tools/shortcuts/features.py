"""An encoder that sees what a pretext task should not be solvable by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.networks.encoders import Encoder


class HandcraftedFeatures(Encoder):
    """Describe a patch by a handful of numbers and mix them in a small network.

    Per channel: mean, standard deviation, minimum, maximum, share of exact zeros, and along each axis the roughness
    (mean absolute difference of neighbouring voxels), the mean of either half and of either face.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of a patch.
        width: channels of the description after mixing.
    """

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, width: int = 32) -> None:
        super().__init__([width], [1], spatial_dims, in_channels, min_size=2)
        features = in_channels * (5 + 5 * spatial_dims)
        self.mix = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 64), nn.GELU(), nn.Linear(64, width))

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Edges of the map, which are 1."""
        return [(1,) * self.spatial_dims]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map patches (B, C, *spatial) to descriptions (B, width, 1, ...)."""
        flat = x.flatten(2)
        found = [flat.mean(-1), flat.std(-1), flat.amin(-1), flat.amax(-1), (flat == 0).to(x.dtype).mean(-1)]
        for axis in range(2, x.ndim):
            found.append(x.diff(dim=axis).abs().flatten(2).mean(-1))
            found.extend(half.flatten(2).mean(-1) for half in x.tensor_split(2, axis))
            found.extend(x.select(axis, side).flatten(2).mean(-1) for side in (0, -1))
        mixed = self.mix(torch.cat(found, 1))
        return mixed.reshape(*mixed.shape, *[1] * self.spatial_dims)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map patches (B, C, *spatial) to a list of one map, their descriptions."""
        return [self(x)]
