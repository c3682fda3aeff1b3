"""Contracting path of MONAI's BasicUNet as encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets.basic_unet import Down, TwoConv
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import register_encoder
from tools.networks.norms import NORMS, is_instance
from tools.utils.errors import InputError

ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})  # BasicUNet's default


@register_encoder("unet")
class UNetEncoder(Encoder):
    """Contracting path of a U-Net (Falk et al. 2019), with the keys and outputs of `monai.networks.nets.BasicUNet`.

    The default widths are from Taleb et al. (NeurIPS 2020). Maps are (B, features[i], edge / 2^i), rounded down.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
        features: channels of the five levels, finest first.
        dropout: fraction of dropped values after each norm layer.
        round_up: let pools keep the remainder of an odd edge, so that no stack is too thin: of 9 slices the maps
            have 9, 5, 3, 2 and 1. The weights are the same, and so is the result where edges divide.

    Raises:
        InputError: if `features` does not have five entries.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
        features: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.0,
        round_up: bool = False,
    ) -> None:
        if len(features) != 5:
            raise InputError(f"features: expected the widths of 5 levels, found {list(features)}")
        smallest = 2 if is_instance(norm) else 1
        min_size = 16 * (smallest - 1) + 1 if round_up else 16 * smallest
        super().__init__(features, (1, 2, 4, 8, 16), spatial_dims, in_channels, min_size, norm=norm)
        block = {"act": ACTIVATION, "norm": norm, "bias": True, "dropout": dropout}
        self.conv_0 = TwoConv(spatial_dims, in_channels, features[0], **block)
        self.down_1 = Down(spatial_dims, features[0], features[1], **block)
        self.down_2 = Down(spatial_dims, features[1], features[2], **block)
        self.down_3 = Down(spatial_dims, features[2], features[3], **block)
        self.down_4 = Down(spatial_dims, features[3], features[4], **block)
        self.round_up = round_up
        for module in self.modules():
            if round_up and isinstance(module, nn.MaxPool2d | nn.MaxPool3d):
                module.ceil_mode = True

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the edges of each map of an image with edges `size`."""
        if self.round_up:
            return super().map_sizes(size)
        return [tuple(edge // step for edge, step in zip(size, stride, strict=True)) for stride in self.strides]

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to the five maps, finest first."""
        x0 = self.conv_0(x)
        x1 = self.down_1(x0)
        x2 = self.down_2(x1)
        x3 = self.down_3(x2)
        return [x0, x1, x2, x3, self.down_4(x3)]
