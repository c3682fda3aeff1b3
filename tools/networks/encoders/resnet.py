"""MONAI's residual networks as encoders."""

from __future__ import annotations

from functools import partial, partialmethod
from itertools import accumulate
from operator import mul
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet, get_inplanes
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import register_encoder
from tools.networks.norms import NORMS, is_instance
from tools.utils.errors import check_choice

#: block and blocks per layer, as in `monai.networks.nets.resnet18` and its kin
LAYERS: dict[int, tuple[str, list[int]]] = {
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}


@register_encoder("resnet50", 50)
@register_encoder("resnet34", 34)
@register_encoder("resnet18", 18)
class ResNetEncoder(Encoder):
    """Residual network with the keys and outputs of ``monai.networks.nets.resnet18(bias_downsample=False)`` etc.

    The maps are the stem before its pooling and the four layers: strides 1, 2, 4, 8, 16 with the default stem. Their
    edges are rounded up. The stem of 7 voxels has MONAI's stride 1 by default; shortcuts of type B have no bias, which
    the norm after it would take away again.

    Args:
        depth: 18, 34 or 50 weight layers.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments).
        conv1_t_stride: stride of the stem; 2 costs an eighth and doubles all strides.
        shortcut_type: ``B`` (a convolution) or ``A`` (zeros in place of missing channels), as in MedicalNet's 18 and
            34.

    Raises:
        InputError: if the type is not supported.
    """

    def __init__(
        self,
        depth: int,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
        conv1_t_stride: int = 1,
        shortcut_type: str = "B",
    ) -> None:
        check_choice(shortcut_type, "AB", "shortcut_type")
        strides = list(accumulate((conv1_t_stride, 2, 2, 2, 2), mul))
        stock = _stock(depth, spatial_dims, in_channels, norm, conv1_t_stride, shortcut_type)
        super().__init__(
            [64, *(64 * 2**i * (1 if depth < 50 else 4) for i in range(4))],
            strides,
            spatial_dims,
            in_channels,
            min_size=1 + strides[-1] if is_instance(norm) else 1,
            norm=norm,
        )
        self.conv1, self.bn1, self.act, self.maxpool = stock.conv1, stock.bn1, stock.act, stock.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = stock.layer1, stock.layer2, stock.layer3, stock.layer4

    def zero_residual_norms(self) -> None:
        """Set the scale of each block's last norm to 0, so that blocks start as their shortcut (Goyal et al. 2017)."""
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                last = block.bn3 if hasattr(block, "bn3") else block.bn2
                if last.weight is not None:
                    nn.init.zeros_(last.weight)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to the five maps, finest first."""
        x0 = self.act(self.bn1(self.conv1(x)))
        x1 = self.layer1(self.maxpool(x0))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        return [x0, x1, x2, x3, self.layer4(x3)]


class ZeroPaddedShortcut(nn.Module):
    """Shortcut of type A (He et al., CVPR 2016): every second voxel, and zeros in place of missing channels.

    Args:
        channels: channels of the result.
        stride: stride of the result.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, [D,] H, W) to (B, channels, …) with edges divided by the stride and rounded up."""
        for axis in range(2, x.ndim):
            x = x.index_select(axis, torch.arange(0, x.shape[axis], self.stride, device=x.device))
        missing = [0, 0] * (x.ndim - 2)
        missing.extend([0, self.channels - x.shape[1]])
        return F.pad(x, missing)


def _stock(
    depth: int,
    spatial_dims: int,
    in_channels: int,
    norm: tuple[str, dict[str, Any]],
    stride: int,
    shortcut_type: str,
) -> ResNet:
    """Build MONAI's network with `norm` also in the blocks, where MONAI 1.6.1 always uses batch norm."""

    class Normed(ResNet):
        _make_layer = partialmethod(ResNet._make_layer, norm=norm)

    block, layers = LAYERS[depth]
    stock = Normed(
        block,
        layers,
        get_inplanes(),
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        conv1_t_stride=stride,
        feed_forward=False,
        bias_downsample=False,
        norm=norm,
        shortcut_type=shortcut_type,
    )
    for block in stock.modules():
        if isinstance(getattr(block, "downsample", None), partial):  # of a function, which TorchScript refuses
            arguments = block.downsample.keywords
            block.downsample = ZeroPaddedShortcut(arguments["planes"], arguments["stride"])
    return stock
