"""Pseudo-3D residual networks for slice stacks: P3D, and MP3D, which preserves the depth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_norm_layer
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import register_encoder
from tools.networks.norms import NORMS, is_instance
from tools.utils.errors import InputError

#: block and blocks per layer; "ba" are basic blocks
LAYERS: dict[str, tuple[str, list[int]]] = {
    "18ba": ("basic", [2, 2, 2, 2]),
    "63": ("bottleneck", [3, 4, 6, 3]),
}
EXPANSION = {"basic": 1, "bottleneck": 4}
PLANE_STRIDE = (1, 2, 2)


class PseudoConv(nn.Module):
    """Factorised 3 × 3 × 3 convolution: 3 × 3 within slices and 3 across slices, each with norm and activation.

    Args:
        in_channels: channels of the input.
        channels: channels of the result.
        norm: MONAI's (name, arguments).
        kind: how the two go together (Qiu et al., ICCV 2017): ``A`` one after the other, ``B`` side by side and
            summed, ``C`` one after the other and summed.
        stride: of the result within slices.
    """

    def __init__(self, in_channels: int, channels: int, norm: tuple, kind: str, stride: int = 1) -> None:
        super().__init__()
        self.kind = kind
        across = (in_channels, stride) if kind == "B" else (channels, 1)
        self.conv1 = _conv(in_channels, channels, (1, 3, 3), stride)
        self.bn1 = _norm(norm, channels)
        self.conv2 = _conv(across[0], channels, (3, 1, 1), across[1])
        self.bn2 = _norm(norm, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, D, H, W) to (B, channels, D, H / stride, W / stride)."""
        within = F.relu(self.bn1(self.conv1(x)), inplace=True)
        across = F.relu(self.bn2(self.conv2(x if self.kind == "B" else within)), inplace=True)
        return across if self.kind == "A" else within + across


class Basic(nn.Module):
    """Residual block of two pseudo-3D convolutions; same arguments as `PseudoConv`."""

    def __init__(self, in_channels: int, channels: int, norm: tuple, kind: str, stride: int) -> None:
        super().__init__()
        self.conv1 = PseudoConv(in_channels, channels, norm, kind, stride)
        self.conv2 = PseudoConv(channels, channels, norm, kind)
        self.downsample = _shortcut(in_channels, channels, norm, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, D, H, W) to (B, channels, D, H / stride, W / stride)."""
        return F.relu(self.conv2(self.conv1(x)) + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """Residual block: pointwise, pseudo-3D and pointwise convolution; the first has the stride."""

    def __init__(self, in_channels: int, channels: int, norm: tuple, kind: str, stride: int) -> None:
        super().__init__()
        wide = EXPANSION["bottleneck"] * channels
        self.conv1 = _conv(in_channels, channels, (1, 1, 1), stride)
        self.bn1 = _norm(norm, channels)
        self.conv2 = PseudoConv(channels, channels, norm, kind)
        self.conv3 = _conv(channels, wide, (1, 1, 1))
        self.bn3 = _norm(norm, wide)
        self.downsample = _shortcut(in_channels, wide, norm, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, D, H, W) to (B, 4 × channels, D, H / stride, W / stride)."""
        narrow = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(self.conv2(narrow))) + self.downsample(x), inplace=True)


class InnerDepthPool(nn.Module):
    """Max pooling over three slices without padding; over all slices if there are fewer than three."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, D, H, W) to (B, C, max(1, D - 2), H, W)."""
        return F.max_pool3d(x, (min(3, x.shape[2]), 1, 1), stride=1)


@register_encoder("mp3d63", "63", False)
@register_encoder("mp3d18ba", "18ba", False)
@register_encoder("p3d63", "63", True)
@register_encoder("p3d18ba", "18ba", True)
class P3DEncoder(Encoder):
    """Pseudo-3D residual network (P3D), or the variant that keeps every slice (MP3D, Zhang et al., MICCAI 2020).

    Both have the same weights. The maps are the four layers, after their depth pooling: strides 4, 8, 16, 32 within
    slices, edges rounded up. MP3D keeps the depth. P3D halves it, rounded up, in the first two maps and drops the
    outermost slices (`InnerDepthPool`) in the other two: of 9 slices 5, 3, 1, 1, see `map_sizes`.

    Convolutions start from Kaiming's normal distribution (fan-out). A bottleneck ends in a norm that is added to the
    shortcut: its scale starts at 0, so that the block starts as its shortcut. Basic blocks have no such norm: theirs
    go through an activation before the sum, which passes no gradient at 0, and a scale of 0 would stay there.

    Args:
        layers: a key of `LAYERS`.
        depth_pooling: True for P3D, False for MP3D.
        spatial_dims: 3.
        in_channels: channels of the input.
        norm: MONAI's (name, arguments); the paper's is ``["group", {"num_groups": 32}]``.
        width: channels of the stem; the layers' are 1, 2, 4 and 8 times as many, bottlenecks four times those.

    Raises:
        InputError: if `spatial_dims` is not supported, or `width` is missing.
    """

    def __init__(
        self,
        layers: str,
        depth_pooling: bool,
        spatial_dims: int,
        in_channels: int,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
        width: int = 64,
    ) -> None:
        if spatial_dims != 3:
            raise InputError(f"spatial_dims: expected 3 for a pseudo-3D network, found {spatial_dims!r}")
        if not isinstance(width, int) or width < 1:
            raise InputError(f"width: expected a whole number above 0, found {width!r}")
        block, counts = LAYERS[layers]
        widths = [width * 2**i for i in range(4)]
        thinnest = 13 if depth_pooling else 2  # leaves the last map two slices
        depths = (2, 4, 4, 4) if depth_pooling else (1, 1, 1, 1)
        super().__init__(
            [EXPANSION[block] * w for w in widths],
            [(depth, plane, plane) for depth, plane in zip(depths, (4, 8, 16, 32), strict=True)],
            spatial_dims,
            in_channels,
            min_size=(thinnest, 1, 1) if is_instance(norm) else 1,
            norm=norm,
        )
        self.depth_pooling = depth_pooling
        self.conv1 = _conv(in_channels, width, (1, 7, 7), 2)
        self.bn1 = _norm(norm, width)
        self.maxpool = _pool((1 if depth_pooling else 3, 3, 3), PLANE_STRIDE)
        self.layer1, self.layer2, self.layer3, self.layer4 = _layers(block, counts, width, widths, norm)
        self.pool1, self.pool2 = (_pool((3, 1, 1), (2, 1, 1)) if depth_pooling else nn.Identity() for _ in range(2))
        self.pool3 = InnerDepthPool() if depth_pooling else nn.Identity()
        _initialise(self)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, D, H, W) to the four maps, finest first."""
        x0 = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x1 = self.pool1(self.layer1(x0))
        x2 = self.pool2(self.layer2(x1))
        x3 = self.pool3(self.layer3(x2))
        return [x1, x2, x3, self.layer4(x3)]

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the edges of all maps for an input stack with edges `size`."""
        sizes = super().map_sizes(size)
        if not self.depth_pooling:
            return sizes
        inner = max(1, sizes[1][0] - 2)
        return [*sizes[:2], *((inner, *edges[1:]) for edges in sizes[2:])]


def _conv(in_channels: int, channels: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Conv3d:
    padding = tuple(k // 2 for k in kernel)
    return nn.Conv3d(in_channels, channels, kernel, (1, stride, stride), padding, bias=False)


def _norm(norm: tuple, channels: int) -> nn.Module:
    return get_norm_layer(norm, spatial_dims=3, channels=channels)


def _pool(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.MaxPool3d:
    return nn.MaxPool3d(kernel, stride, tuple(k // 2 for k in kernel))


def _shortcut(in_channels: int, channels: int, norm: tuple, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(_conv(in_channels, channels, (1, 1, 1), stride), _norm(norm, channels))


def _layers(block: str, counts: list[int], in_channels: int, widths: list[int], norm: tuple) -> list[nn.Sequential]:
    """Build the four layers; kinds A, B, C alternate over all blocks, and layers 2 to 4 start with a strided block."""
    kinds, build = cycle("ABC"), Basic if block == "basic" else Bottleneck
    layers = []
    for level, (count, width) in enumerate(zip(counts, widths, strict=True)):
        blocks = []
        for i in range(count):
            blocks.append(build(in_channels, width, norm, next(kinds), 2 if level and i == 0 else 1))
            in_channels = EXPANSION[block] * width
        layers.append(nn.Sequential(*blocks))
    return layers


def _initialise(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Bottleneck) and getattr(module.bn3, "weight", None) is not None:
            nn.init.zeros_(module.bn3.weight)
