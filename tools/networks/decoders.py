"""Decoders from an encoder's maps to a score for every voxel: a U-Net, and a linear probe."""

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
    """Upsampling of a map, concatenation with the encoder's finer one and two convolutions; keys of MONAI's `UpCat`.

    MONAI's doubles every axis and pads what is one voxel short. This one follows the strides of the encoder, and also
    crops what an encoder that rounds up leaves too large.

    Args:
        spatial_dims: 2 or 3.
        channels: of the coarse map, the upsampled one, the encoder's, and the result.
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
        """Map (B, coarse, …) and (B, fine, …) to (B, result, …) of the size of the latter."""
        upsampled = _fit(self.upsample(coarse), fine.shape[2:])
        return self.convs(torch.cat([fine, upsampled], 1))


def _fit(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Crop or replicate the far ends of the spatial axes to a size."""
    missing = [0] * (2 * len(size))
    for axis in range(len(size)):
        x = x.narrow(2 + axis, 0, min(size[axis], x.shape[2 + axis]))
        missing[2 * (len(size) - 1 - axis) + 1] = size[axis] - x.shape[2 + axis]
    return F.pad(x, missing, "replicate") if max(missing) > 0 else x


class SegmentationNetwork(nn.Module):
    """U-Net decoder on any encoder (Ronneberger et al. 2015; Falk et al. 2019).

    There is one `UpCat` for each map but the coarsest. Scores of an encoder whose finest map has a stride are
    interpolated to the image.

    With the `unet` encoder, the network computes what MONAI's ``BasicUNet(features=(*encoder.channels,
    encoder.channels[0]))`` does, and has the same keys but for the prefixes ``encoder.`` and ``decoder.``. A state dict
    without these prefixes is accepted by `load_state_dict`, see `rename_keys`; so ``BasicUNet``'s weights load here,
    and weights without the prefixes load there.

    Args:
        encoder: its maps are the skip connections.
        out_channels: scores per voxel.
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
    """Linear probe: every voxel's score is a linear function of the encoder's maps at its place.

    Args:
        encoder: its maps are interpolated to the image and concatenated; computed as a sum of one linear map each.
        out_channels: scores per voxel.
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
    """Build the network of a protocol: the linear probe for ``linear``, the U-Net for all others."""
    return (LinearSegmentationNetwork if protocol == "linear" else SegmentationNetwork)(encoder, out_channels)


def _rename(network: nn.Module, state: dict, prefix: str, *_: object) -> None:
    own = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
    state |= {prefix + key: value for key, value in rename_keys(network, own).items()}


def _interpolate(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="trilinear" if x.ndim == 5 else "bilinear")
