"""Segmentation networks on any encoder: U-Net decoder and linear probe."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks import UpSample
from monai.networks.layers.factories import Conv
from monai.networks.nets.basic_unet import TwoConv
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.norms import fit_norm
from tools.networks.renaming import rename_keys

ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})  # BasicUNet's default


class UpCat(nn.Module):
    """Upsampling, concatenation with the skip connection and two convolutions, with the keys of MONAI's `UpCat`.

    MONAI's block doubles every axis and pads a missing voxel. This block upsamples by the strides of the encoder, and
    also crops, for encoders that round up.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the coarse map, the upsampled map, the skip connection and the result.
        scale: upsampling factor of each axis.
        norm: MONAI's (name, arguments).
    """

    def __init__(
        self, spatial_dims: int, channels: tuple[int, int, int, int], scale: tuple[int, ...], norm: tuple
    ) -> None:
        super().__init__()
        coarse, upsampled, fine, result = channels
        self.upsample = UpSample(spatial_dims, coarse, upsampled, scale, mode="deconv")
        self.convs = TwoConv(spatial_dims, upsampled + fine, result, ACTIVATION, norm, bias=True)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Map (B, coarse, …) and (B, fine, …) to (B, result, …) with the spatial size of the latter."""
        upsampled = _fit(self.upsample(coarse), fine.shape[2:])
        return self.convs(torch.cat([fine, upsampled], 1))


def _fit(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Crop or pad (by replication) the end of each spatial axis to a size."""
    missing = [0] * (2 * len(size))
    for axis in range(len(size)):
        x = x.narrow(2 + axis, 0, min(size[axis], x.shape[2 + axis]))
        missing[2 * (len(size) - 1 - axis) + 1] = size[axis] - x.shape[2 + axis]
    return F.pad(x, missing, "replicate") if max(missing) > 0 else x


class SegmentationNetwork(nn.Module):
    """U-Net decoder on any encoder (Ronneberger et al. 2015; Falk et al. 2019).

    There is one `UpCat` block per map except the coarsest. If the finest map has a stride, the scores are interpolated
    to the size of the image.

    With the `unet` encoder, the network equals MONAI's ``BasicUNet(features=(*encoder.channels,
    encoder.channels[0]))``, except for the key prefixes ``encoder.`` and ``decoder.``. `load_state_dict` also accepts
    keys without these prefixes, see `rename_keys`, so weights of ``BasicUNet`` can be loaded.

    Args:
        encoder: encoder, whose maps are the skip connections.
        out_channels: number of scores per voxel.
    """

    def __init__(self, encoder: Encoder, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        dims, widths = encoder.spatial_dims, encoder.channels
        self.decoder = nn.ModuleDict()
        for level in range(len(widths) - 1, 0, -1):
            coarse, fine = widths[level], widths[level - 1]
            channels = (coarse, coarse if level == 1 else max(coarse // 2, 1), fine, fine)
            strides = zip(encoder.strides[level], encoder.strides[level - 1], strict=True)
            scale = tuple(coarser // finer for coarser, finer in strides)
            self.decoder[f"upcat_{level}"] = UpCat(dims, channels, scale, fit_norm(encoder.norm, fine))
        self.final_conv = Conv["conv", dims](widths[0], out_channels, kernel_size=1)
        self.register_load_state_dict_pre_hook(_rename)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels, [D,] H, W)."""
        if not torch.jit.is_scripting():
            self.encoder.check_size(image.shape[2:])
        maps = self.encoder.features(image)
        x = maps[-1]
        level = len(maps) - 1
        for block in self.decoder.values():
            level -= 1
            x = block(x, maps[level])
        scores = self.final_conv(x)
        return scores if scores.shape[2:] == image.shape[2:] else _interpolate(scores, image.shape[2:])


class LinearSegmentationNetwork(nn.Module):
    """Linear probe: the scores of a voxel are a linear function of the encoder's maps at its position.

    All maps are interpolated to the size of the image. The linear layer on their concatenation is computed as a sum of
    one 1 × 1 convolution per map.

    Args:
        encoder: see `Encoder`.
        out_channels: number of scores per voxel.
    """

    def __init__(self, encoder: Encoder, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        conv = Conv["conv", encoder.spatial_dims]
        self.heads = nn.ModuleList(conv(width, out_channels, kernel_size=1) for width in encoder.channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels, [D,] H, W)."""
        if not torch.jit.is_scripting():
            self.encoder.check_size(image.shape[2:])
        maps = self.encoder.features(image)
        scores: list[torch.Tensor] = []
        for i, head in enumerate(self.heads):
            scores.append(_interpolate(head(maps[i]), image.shape[2:]))
        return torch.stack(scores).sum(0)


def build_segmenter(encoder: Encoder, out_channels: int, protocol: str = "finetune") -> nn.Module:
    """Build the segmentation network of a protocol: linear probe for ``linear``, U-Net for all others."""
    return (LinearSegmentationNetwork if protocol == "linear" else SegmentationNetwork)(encoder, out_channels)


def _rename(network: nn.Module, state: dict, prefix: str, *_: object) -> None:
    own = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
    state |= {prefix + key: value for key, value in rename_keys(network, own).items()}


def _interpolate(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="trilinear" if x.ndim == 5 else "bilinear")
