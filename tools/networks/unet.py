"""The contracting path of MONAI's BasicUNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets.basic_unet import Down, TwoConv
from torch import nn

from tools.networks.encoder import ENCODERS, Encoder, is_instance, keep_depth, refuse_flat_pictures
from tools.utils.errors import InputError

ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})  # BasicUNet's default


class UNetEncoder(Encoder):
    """Contracting path of a U-Net (Falk et al. 2019), keys and maths those of `monai.networks.nets.BasicUNet`.

    The widths default to those of Taleb et al. (NeurIPS 2020). Maps are (B, features[i], edge / 2^i), rounded down.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
        features: channels of the five levels, finest first.
        dropout: share of dropped values after each norm layer.
        depth_stride: False never pools along the first spatial axis, for thin stacks. The weights are the same, so one
            may be trained and the other used.
        round_up: let pools keep what is left over of an odd edge, so that no stack is too thin: of 9 slices the maps
            have 9, 5, 3, 2 and 1. The weights are the same, and so is the result where edges divide.

    Raises:
        InputError: when `features` does not name five levels, or `depth_stride` is False in 2D.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]],
        features: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.0,
        depth_stride: bool = True,
        round_up: bool = False,
    ) -> None:
        if len(features) != 5:
            raise InputError(f"features: expected the widths of 5 levels, found {list(features)}")
        refuse_flat_pictures(spatial_dims, depth_stride)
        smallest = 2 if is_instance(norm) else 1
        strides = (1, 2, 4, 8, 16)
        super().__init__(
            features,
            strides,
            spatial_dims,
            in_channels,
            min_size=16 * (smallest - 1) + 1 if round_up else 16 * smallest,
            depth_strides=strides if depth_stride else (1,) * 5,
            min_depth=None if depth_stride else 1,
        )
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
        if not depth_stride:
            keep_depth(self)

    def map_depths(self, depth: int) -> tuple[int, ...]:
        """Depth of each map of a stack of `depth` slices.

        Raises:
            InputError: pools would drop slices.
        """
        if not self.round_up:
            return super().map_depths(depth)
        return tuple(-(-depth // stride) for stride in self.depth_strides)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to the five maps, finest first."""
        x0 = self.conv_0(x)
        x1 = self.down_1(x0)
        x2 = self.down_2(x1)
        x3 = self.down_3(x2)
        return [x0, x1, x2, x3, self.down_4(x3)]


ENCODERS["unet"] = UNetEncoder
