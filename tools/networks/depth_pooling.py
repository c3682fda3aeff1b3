"""Pooling over depth: from the maps of a stack of slices to those of its key slice."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tools.utils.errors import InputError, check_choice


class Centre(nn.Module):
    """The key slice: the middle one, the first of the two middle ones in an even stack."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x[:, :, (x.shape[2] - 1) // 2]


class Mean(nn.Module):
    """The mean over slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x.mean(2)


class Maximum(nn.Module):
    """The maximum over slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, H, W)."""
        return x.amax(2)


class GroupTransform(nn.Module):
    """A learnt weighted sum over slices, with weights of each channel's own (Zhang et al., MICCAI 2020).

    It starts as `Centre`, so that what was pretrained with that goes on unchanged.

    Args:
        channels: of the maps.
        depth: slices of the maps.

    Raises:
        InputError: no `depth`; in `forward`, maps of another depth.
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


def resize_group_weights(weight: torch.Tensor, depth: int) -> torch.Tensor:
    """Weights of a `GroupTransform` for another number of slices that cover the same stack.

    A slice's weight is spread over its thickness: the running sum is interpolated linearly at the new slices' borders.
    So the sum stays, equal weights stay equal, none turns negative, and there is no sum to divide by.

    Args:
        weight: (channels, slices).
        depth: new number of slices.
    """
    running = F.pad(weight.cumsum(1), (1, 0))
    return F.interpolate(running[None], size=depth + 1, mode="linear", align_corners=True)[0].diff(dim=1)


#: every pooling by name, built from the maps' channels and slices
DEPTH_POOLINGS: dict[str, Callable[[int, int], nn.Module]] = {
    "center": lambda channels, depth: Centre(),
    "mean": lambda channels, depth: Mean(),
    "max": lambda channels, depth: Maximum(),
    "gtm": GroupTransform,
}


def build_depth_pooling(name: str, channels: int, depth: int) -> nn.Module:
    """Build the module that maps (B, channels, depth, H, W) to (B, channels, H, W).

    Args:
        name: ``center`` (the key slice), ``mean``, ``max``, or ``gtm`` (`GroupTransform`).
        channels: of the maps.
        depth: slices of the maps; see `Encoder.map_sizes`.

    Raises:
        InputError: for an unknown name.
    """
    return DEPTH_POOLINGS[check_choice(name, DEPTH_POOLINGS, "depth_pooling")](channels, depth)
