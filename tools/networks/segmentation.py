"""From an encoder's maps to a score for every voxel: a U-Net decoder, and a linear probe."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks import UpSample
from monai.networks.layers.factories import Conv
from monai.networks.nets.basic_unet import TwoConv
from torch import nn

from tools.networks.encoder import Encoder, parse_norm
from tools.networks.unet import ACTIVATION
from tools.utils.errors import InputError


class UpCat(nn.Module):
    """Enlarge a map, put the encoder's finer one beside it, convolve twice; keys those of MONAI's `UpCat`.

    MONAI's doubles every axis and pads what is one voxel short. This one follows the strides of the encoder, which may
    leave the depth alone, and also cuts what an encoder that rounds up leaves too large.

    Args:
        spatial_dims: 2 or 3.
        channels: of the coarse map, the enlarged one, the encoder's, and the result.
        scale: of every axis.
        norm: MONAI's (name, arguments).
    """

    def __init__(
        self, spatial_dims: int, channels: tuple[int, int, int, int], scale: tuple[int, ...], norm: tuple
    ) -> None:
        super().__init__()
        coarse, enlarged, fine, result = channels
        self.upsample = UpSample(spatial_dims, coarse, enlarged, scale, mode="deconv")
        self.convs = TwoConv(spatial_dims, enlarged + fine, result, ACTIVATION, norm, bias=True)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Map (B, coarse, …) and (B, fine, …) to (B, result, …) of the size of the latter."""
        enlarged = _fit(self.upsample(coarse), fine.shape[2:])
        return self.convs(torch.cat([fine, enlarged], 1))


def _fit(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Cut or replicate the far ends of the spatial axes to a size."""
    missing = [0] * (2 * len(size))
    for axis in range(len(size)):
        x = x.narrow(2 + axis, 0, min(size[axis], x.shape[2 + axis]))
        missing[2 * (len(size) - 1 - axis) + 1] = size[axis] - x.shape[2 + axis]
    return F.pad(x, missing, "replicate") if max(missing) > 0 else x


class SegmentationNetwork(nn.Module):
    """U-Net decoder on an encoder (Ronneberger et al. 2015; Falk et al. 2019).

    With the `unet` encoder it is MONAI's ``BasicUNet(features=(*encoder.channels, encoder.channels[0]))`` key for key:
    the state dict has no "encoder." in it, so weights go back and forth.

    Args:
        encoder: its maps are the skip connections.
        out_channels: scores per voxel.
    """

    def __init__(self, encoder: Encoder, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        dims, norm, widths = encoder.spatial_dims, parse_norm(encoder.arguments["norm"]), encoder.channels
        for level in range(len(widths) - 1, 0, -1):
            coarse, fine = widths[level], widths[level - 1]
            enlarged = coarse if level == 1 else coarse // 2
            channels = (coarse, enlarged, fine, fine)
            setattr(self, f"upcat_{level}", UpCat(dims, channels, _scale(encoder, level), norm))
        self.final_conv = Conv["conv", dims](widths[0], out_channels, kernel_size=1)
        self.register_state_dict_post_hook(_strip)
        self.register_load_state_dict_pre_hook(_prefix)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels, [D,] H, W)."""
        maps = self.encoder.features(image)
        x = self.upcat_4(maps[4], maps[3])
        x = self.upcat_3(x, maps[2])
        x = self.upcat_2(x, maps[1])
        x = self.final_conv(self.upcat_1(x, maps[0]))
        return x if x.shape[2:] == image.shape[2:] else _enlarge(x, image.shape[2:])


class LinearSegmentationNetwork(nn.Module):
    """Linear probe: every voxel's score is a linear function of the encoder's maps at its place.

    Args:
        encoder: its maps are enlarged to the image and stacked; a sum of one linear map each, without the stack.
        out_channels: scores per voxel.
    """

    def __init__(self, encoder: Encoder, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        conv = Conv["conv", encoder.spatial_dims]
        self.heads = nn.ModuleList(conv(width, out_channels, kernel_size=1) for width in encoder.channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to scores (B, out_channels, [D,] H, W)."""
        maps = self.encoder.features(image)
        scores: list[torch.Tensor] = []
        for i, head in enumerate(self.heads):
            scores.append(_enlarge(head(maps[i]), image.shape[2:]))
        return torch.stack(scores).sum(0)


def build_segmenter(encoder: Encoder, out_channels: int, protocol: str = "finetune") -> nn.Module:
    """Build the network of a protocol: the linear probe for ``linear``, the U-Net for all others.

    Raises:
        InputError: an encoder without five levels.
    """
    if len(encoder.channels) != 5:
        raise InputError(f"encoder: expected five maps to decode, found {len(encoder.channels)}")
    return (LinearSegmentationNetwork if protocol == "linear" else SegmentationNetwork)(encoder, out_channels)


def _enlarge(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="trilinear" if x.ndim == 5 else "bilinear")


def _scale(encoder: Encoder, level: int) -> tuple[int, ...]:
    """How much coarser than the level before a level is, along each axis."""
    depth, plane = (strides[level] // strides[level - 1] for strides in (encoder.depth_strides, encoder.strides))
    return (depth, plane, plane) if encoder.spatial_dims == 3 else (plane, plane)


def _strip(network: nn.Module, state: dict, prefix: str, _: dict) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}encoder.")]:
        state[prefix + key.removeprefix(f"{prefix}encoder.")] = state.pop(key)


def _prefix(network: nn.Module, state: dict, prefix: str, *_: object) -> None:
    for key in network.encoder.state_dict():
        if prefix + key in state:
            state[f"{prefix}encoder.{key}"] = state.pop(prefix + key)
