"""Depth pooling: reduction of 3D feature maps of a slice stack to 2D maps of its key slice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tools.utils.errors import InputError, check_choice


class CenterPool(nn.Module):
    """Selection of the middle slice; the first of the two middle slices for an even depth."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x[:, :, (x.shape[2] - 1) // 2]


class MeanPool(nn.Module):
    """Mean over slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x.mean(2)


class MaxPool(nn.Module):
    """Maximum over slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x.amax(2)


class GroupTransform(nn.Module):
    """Group transform module: learnt weighted sum over slices, per channel (Zhang et al., MICCAI 2020).

    The initial weights reproduce `CenterPool`, so that networks pretrained with it give the same result.

    Args:
        channels: number of channels of the maps.
        depth: number of slices of the maps.

    Raises:
        InputError: if `depth` is not a positive integer, or `forward` receives maps of another depth.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        if not isinstance(depth, int) or depth < 1:
            raise InputError(f"depth: expected a whole number of slices above 0, found {depth!r}")
        weight = torch.zeros(channels, depth)
        weight[:, (depth - 1) // 2] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        if x.shape[1:3] != self.weight.shape:
            expected, found = list(self.weight.shape), list(x.shape[1:3])
            raise InputError(f"maps: expected channels and slices {expected}, found {found}")
        summed = torch.matmul(self.weight.unsqueeze(1), x.flatten(3))
        return summed.reshape(x.shape[0], x.shape[1], x.shape[3], x.shape[4])


#: depth pooling by name, built from the numbers of channels and slices
DEPTH_POOLINGS: dict[str, Callable[[int, int], nn.Module]] = {
    "center": lambda channels, depth: CenterPool(),
    "mean": lambda channels, depth: MeanPool(),
    "max": lambda channels, depth: MaxPool(),
    "gtm": GroupTransform,
}


def build_depth_pooling(name: str, channels: int, depth: int) -> nn.Module:
    """Build the module that maps (B, channels, depth, H, W) to (B, channels, H, W).

    Args:
        name: ``center`` (the key slice), ``mean``, ``max``, or ``gtm`` (`GroupTransform`).
        channels: number of channels of the maps.
        depth: number of slices of the maps, see `Encoder.map_sizes`.

    Raises:
        InputError: if `name` is unknown.
    """
    return DEPTH_POOLINGS[check_choice(name, DEPTH_POOLINGS, "depth_pooling")](channels, depth)
