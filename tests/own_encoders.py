"""Encoders as users write them, unlike the registered ones: other numbers of levels, strides, norms and names."""

from itertools import accumulate
from operator import mul

import torch
from monai.networks.nets import SegResNet
from torch import nn

from tools.networks import Encoder, register_encoder


@register_encoder("own_segresnet")
class SegResNetEncoder(Encoder):
    """MONAI's, four levels, finest stride 1."""

    def __init__(self, spatial_dims, in_channels, norm=("group", {"num_groups": 8}), init_filters=8):
        smallest = 9 if norm[0] == "instance" else 1
        widths = [init_filters * 2**level for level in range(4)]
        super().__init__(widths, (1, 2, 4, 8), spatial_dims, in_channels, smallest, norm=norm)
        stock = SegResNet(spatial_dims, init_filters, in_channels, norm=norm)
        self.convInit, self.down_layers = stock.convInit, stock.down_layers

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.convInit(x)
        maps: list[torch.Tensor] = []
        for layer in self.down_layers:
            x = layer(x)
            maps.append(x)
        return maps


class PatchMerging(nn.Module):
    """Neighbouring pixels side by side, a norm and a linear map, as in Swin transformers."""

    def __init__(self, before, width, dims):
        super().__init__()
        self.dims = dims
        self.norm = nn.LayerNorm(before * 2**dims)
        self.linear = nn.Linear(before * 2**dims, width)

    def forward(self, x):
        for axis in range(2, 2 + self.dims):  # fails where an edge is odd
            x = torch.cat([*x.unflatten(axis, (-1, 2)).unbind(axis + 1)], 1)
        return self.linear(self.norm(x.movedim(1, -1))).movedim(-1, 1)


@register_encoder("own_swin")
class SwinLikeEncoder(Encoder):
    """Five levels, finest stride 2, layer norms only, edges that are multiples of 32."""

    scriptable = False  # unpacks the parts of a tensor

    def __init__(self, spatial_dims, in_channels):
        widths = [6, 12, 24, 48, 96]
        super().__init__(widths, (2, 4, 8, 16, 32), spatial_dims, in_channels, 17, 32, ("instance", {"affine": True}))
        pairs = zip([in_channels, *widths], widths, strict=False)
        self.stages = nn.ModuleList(PatchMerging(before, width, spatial_dims) for before, width in pairs)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class ConvEncoder(Encoder):
    """Plain convolutions with any strides and widths."""

    def __init__(self, spatial_dims, in_channels, scales, widths):
        scales = [(scale,) * spatial_dims if isinstance(scale, int) else scale[-spatial_dims:] for scale in scales]
        strides = list(accumulate(scales, lambda before, scale: tuple(map(mul, before, scale))))
        super().__init__(widths, strides, spatial_dims, in_channels)
        conv = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.layers = nn.ModuleList(
            nn.Sequential(conv(before, width, 3, scale, 1), nn.GroupNorm(1, width), nn.ReLU())
            for before, width, scale in zip([in_channels, *widths], widths, scales, strict=False)
        )

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps


@register_encoder("own_six_levels")
class SixLevels(ConvEncoder):
    def __init__(self, spatial_dims, in_channels):
        super().__init__(spatial_dims, in_channels, (1, 2, 2, 2, 2, 2), (4, 6, 8, 10, 12, 16))


@register_encoder("own_anisotropic")
class Anisotropic(ConvEncoder):
    """As nnU-Net plans them for thick slices."""

    def __init__(self, spatial_dims, in_channels):
        scales = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
        super().__init__(spatial_dims, in_channels, scales, (4, 8, 8, 12, 16))


@register_encoder("own_names")
class AwkwardNames(Encoder):
    """Parts with the names of a segmentation network's parts; one map, finest stride 4."""

    def __init__(self, spatial_dims, in_channels):
        super().__init__([8], [4], spatial_dims, in_channels)
        conv = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.encoder = conv(in_channels, 4, 3, 2, 1)
        self.decoder = conv(4, 8, 3, 2, 1)
        self.final_conv = conv(8, 8, 1)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.final_conv(self.decoder(self.encoder(x)).relu())]
