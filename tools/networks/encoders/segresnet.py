"""Encoders of MONAI's SegResNet and of SegResNetDS, the network of Auto3DSeg."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import SegResNet
from monai.networks.nets.segresnet_ds import SegResEncoder

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.options import check_counts
from tools.networks.encoders.registry import register_encoder
from tools.networks.norms import NORMS, is_instance


class _Levels(Encoder):
    """Maps of widths init_filters, 2 init_filters, ... and strides 1, 2, ..., edges rounded up."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]],
        init_filters: int,
        blocks_down: Sequence[int],
    ) -> None:
        check_counts("init_filters", [init_filters], 1)
        strides = [2**level for level, _ in enumerate(check_counts("blocks_down", blocks_down, len(blocks_down)))]
        super().__init__(
            [init_filters * stride for stride in strides],
            strides,
            spatial_dims,
            in_channels,
            min_size=1 + strides[-1] if is_instance(norm) else 1,
            norm=norm,
        )


@register_encoder("segresnet")
class SegResNetEncoder(_Levels):
    """Encoder of MONAI's ``SegResNet`` (Myronenko, BrainLes 2018), with its keys and outputs.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
        init_filters: channels of the finest level; each level has twice as many as the one before.
        blocks_down: residual blocks of each level.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
        init_filters: int = 16,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
    ) -> None:
        super().__init__(spatial_dims, in_channels, norm, init_filters, blocks_down)
        up = (1,) * (len(blocks_down) - 1)
        stock = SegResNet(spatial_dims, init_filters, in_channels, norm=norm, blocks_down=blocks_down, blocks_up=up)
        self.convInit, self.down_layers = stock.convInit, stock.down_layers

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to one map per level, finest first."""
        x = self.convInit(x)
        maps: list[torch.Tensor] = []
        for layer in self.down_layers:
            x = layer(x)
            maps.append(x)
        return maps


@register_encoder("segresnet_ds")
class SegResNetDSEncoder(_Levels):
    """Encoder of MONAI's ``SegResNetDS``, the network of Auto3DSeg, with its outputs and its keys below ``encoder.``.

    The arguments are the same as for `SegResNetEncoder`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
        init_filters: int = 16,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
    ) -> None:
        super().__init__(spatial_dims, in_channels, norm, init_filters, blocks_down)
        own = copy.deepcopy(norm)  # which the stock network changes
        stock = SegResEncoder(spatial_dims, init_filters, in_channels, norm=own, blocks_down=tuple(blocks_down))
        self.conv_init, self.layers = stock.conv_init, stock.layers

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to one map per level, finest first."""
        x = self.conv_init(x)
        maps: list[torch.Tensor] = []
        for level in self.layers:
            x = level["blocks"](x)
            maps.append(x)
            x = level["downsample"](x)
        return maps
