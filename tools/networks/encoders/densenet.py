"""MONAI's densely connected network as encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import DenseNet121
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import register_encoder
from tools.networks.norms import NORMS, is_instance


@register_encoder("densenet121")
class DenseNetEncoder(Encoder):
    """DenseNet-121 with the keys and outputs of ``monai.networks.nets.densenet121`` without its ``class_layers``.

    The maps are the stem before its pooling, the first three blocks before their transitions, and the last block after
    norm and activation. Halved edges are rounded up for the first two and down for the others.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
    """

    __jit_unused_properties__ = ("features",)

    def __init__(self, spatial_dims: int, in_channels: int, norm: tuple[str, dict[str, Any]] = NORMS["group"]) -> None:
        super().__init__(
            (64, 256, 512, 1024, 1024),
            (2, 4, 8, 16, 32),
            spatial_dims,
            in_channels,
            min_size=61 if is_instance(norm) else 29,  # the stem leaves 16 or 8, of which the transitions leave 2 or 1
            norm=norm,
        )
        stock = DenseNet121(spatial_dims, in_channels, out_channels=1, norm=norm)
        self.features = _Maps(OrderedDict(stock.features.named_children()))

    @property
    def features(self) -> nn.Module:
        """Maps images (B, C, [D,] H, W) to the five maps, finest first; a module, so that parts have MONAI's keys."""
        return self._modules["features"]

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the edges of all maps for an image with edges `size`: rounded up for the first two maps, then down."""
        first, second, *_ = super().map_sizes(size)
        later = [
            tuple(edge * start // step for edge, start, step in zip(second, self.strides[1], stride, strict=True))
            for stride in self.strides[2:]
        ]
        return [first, second, *later]


class _Maps(nn.Sequential):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x0 = self.relu0(self.norm0(self.conv0(x)))
        x1 = self.denseblock1(self.pool0(x0))
        x2 = self.denseblock2(self.transition1(x1))
        x3 = self.denseblock3(self.transition2(x2))
        x4 = self.denseblock4(self.transition3(x3))
        return [x0, x1, x2, x3, F.relu(self.norm5(x4))]
