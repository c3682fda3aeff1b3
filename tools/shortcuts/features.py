"""An encoder that sees what a pretext task should not be solvable by."""

from __future__ import annotations

import torch
from torch import nn


class HandcraftedFeatures(nn.Module):
    """Describe a patch by a handful of numbers and mix them in a small network.

    Per channel: mean, standard deviation, minimum, maximum, share of exact zeros, and along each axis the roughness
    (mean absolute difference of neighbouring voxels), the mean of either half and of either face.

    Stands in for an encoder of `tools.networks.encoder` wherever a pretext network expects one.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of a patch.
        width: channels of the description after mixing.
    """

    min_size = min_depth = 2

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = (width,)
        features = in_channels * (5 + 5 * spatial_dims)
        self.mix = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 64), nn.GELU(), nn.Linear(64, width))

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
