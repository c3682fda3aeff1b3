"""MONAI's residual networks as encoders."""

from __future__ import annotations

from functools import partial, partialmethod
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from monai.networks.nets.resnet import ResNet, get_inplanes

from tools.networks.encoder import ENCODERS, Encoder, is_instance, keep_depth, refuse_flat_pictures

#: block and blocks per layer, as in `monai.networks.nets.resnet18` and its kin
LAYERS: dict[int, tuple[str, list[int]]] = {
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}


class ResNetEncoder(Encoder):
    """Residual network, keys and maths of ``monai.networks.nets.resnet18(bias_downsample=False)`` and its kin.

    The maps are the stem before its pooling and the four layers: strides 1, 2, 4, 8, 16 with the default stem. Their
    edges are rounded up. The stem of 7 voxels has MONAI's stride 1 by default; shortcuts (type B) have no bias, which
    the norm after it would take away again.

    Args:
        depth: 18, 34 or 50 weight layers.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
        conv1_t_stride: stride of the stem; 2 costs an eighth and doubles all strides.
        depth_stride: False never strides the first spatial axis, for thin stacks. The weights are the same, so one
            may be trained and the other used.

    Raises:
        InputError: when `depth_stride` is False in 2D.
    """

    def __init__(
        self,
        depth: int,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]],
        conv1_t_stride: int = 1,
        depth_stride: bool = True,
    ) -> None:
        refuse_flat_pictures(spatial_dims, depth_stride)
        strides = list(accumulate((conv1_t_stride, 2, 2, 2, 2), mul))
        depth_strides = strides if depth_stride else [1] * 5
        stock = _stock(depth, spatial_dims, in_channels, norm, conv1_t_stride)
        super().__init__(
            [64, *(64 * 2**i * (1 if depth < 50 else 4) for i in range(4))],
            strides,
            spatial_dims,
            in_channels,
            min_size=1 + depth_strides[-1] if is_instance(norm) else 1,
            depth_strides=depth_strides,
        )
        self.conv1, self.bn1, self.act, self.maxpool = stock.conv1, stock.bn1, stock.act, stock.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = stock.layer1, stock.layer2, stock.layer3, stock.layer4
        if not depth_stride:
            keep_depth(self)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to the five maps, finest first."""
        x0 = self.act(self.bn1(self.conv1(x)))
        x1 = self.layer1(self.maxpool(x0))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        return [x0, x1, x2, x3, self.layer4(x3)]


def _stock(depth: int, spatial_dims: int, in_channels: int, norm: tuple[str, dict[str, Any]], stride: int) -> ResNet:
    """MONAI's network, with the chosen norm in the blocks too: 1.6.1 leaves batch norm there whatever `norm` says."""

    class Normed(ResNet):
        _make_layer = partialmethod(ResNet._make_layer, norm=norm)

    block, layers = LAYERS[depth]
    return Normed(
        block,
        layers,
        get_inplanes(),
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        conv1_t_stride=stride,
        feed_forward=False,
        bias_downsample=False,
        norm=norm,
    )


ENCODERS |= {f"resnet{depth}": partial(ResNetEncoder, depth) for depth in LAYERS}
