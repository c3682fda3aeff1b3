"""nnU-Net's residual encoder, from the optional package dynamic-network-architectures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.options import check_counts, check_stages
from tools.networks.encoders.registry import register_encoder, register_preset
from tools.networks.norms import NORMS
from tools.utils.errors import InputError
from tools.utils.packages import require_package

#: 3D network of nnU-Net's presets M, L and XL, which differ in patch and batch size only
PRESET = {"features": (32, 64, 128, 256, 320, 320), "blocks": (1, 3, 4, 6, 6, 6)}


@register_encoder("resenc")
class ResidualEncoder(Encoder):
    """Encoder of nnU-Net's residual encoder U-Net (Isensee et al., MICCAI 2024), with its keys below ``encoder.``.

    Keys, maths and initial weights are the same as in nnU-Net's ``ResidualEncoderUNet``: convolutions with bias,
    instance norm and leaky ReLU. Each stage returns a map, the stem does not. The default sizes suit a CPU. The presets
    ``resenc_m``, ``resenc_l`` and ``resenc_xl`` have nnU-Net's sizes (see `PRESET`).

    Edges are rounded up. The stock network requires edges that are multiples of the last stride. For these edges, the
    maps are equal.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        features: channels of each stage, finest first.
        blocks: residual blocks of each stage, one number or one per stage.
        strides: stride of each stage, one number or one per axis; None: 1, then 2.
        kernel_sizes: odd kernel size of each stage, one number or one per axis; None: 3.

    Raises:
        InputError: if the package is missing, or sizes are incompatible.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        features: Sequence[int] = (16, 32, 64, 128),
        blocks: int | Sequence[int] = (1, 2, 2, 2),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        require_package("dynamic_network_architectures", "dynamic-network-architectures", "encoder resenc")
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
        from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder as Stock

        count = len(features)
        features = check_counts("features", features, count)
        blocks = check_counts("blocks", [blocks] * count if isinstance(blocks, int) else blocks, count)
        steps = check_stages("strides", strides or [1, *[2] * (count - 1)], count, spatial_dims)
        kernels = check_stages("kernel_sizes", kernel_sizes or [3] * count, count, spatial_dims)
        if any(edge % 2 == 0 for kernel in kernels for edge in kernel):
            raise InputError(f"kernel_sizes: expected odd numbers, found {kernel_sizes}")
        totals = list(accumulate(steps, lambda before, step: [a * b for a, b in zip(before, step, strict=True)]))
        smallest = [1 + total for total in totals[-1]]  # instance norm needs two voxels
        super().__init__(features, totals, spatial_dims, in_channels, smallest, norm=NORMS["instance"])
        stock = Stock(
            in_channels,
            count,
            features,
            Conv["conv", spatial_dims],
            kernels,
            steps,
            blocks,
            conv_bias=True,
            norm_op=Norm["instance", spatial_dims],
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
        )
        self.stem, self.stages = stock.stem, stock.stages
        self.apply(ResidualEncoderUNet.initialize)
        self.apply(_adapt)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to one map per stage, finest first."""
        x = self.stem(x)
        maps: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _adapt(module: nn.Module) -> None:
    """Replace poolings by rounding-up poolings, and functions by modules, for TorchScript and pickle."""
    if isinstance(module, nn.AvgPool2d | nn.AvgPool3d):
        module.ceil_mode = True
    if hasattr(module, "apply_stochastic_depth"):  # a residual block
        for name in ("skip", "drop_path", "squeeze_excitation"):
            if not isinstance(getattr(module, name, None), nn.Module):
                setattr(module, name, nn.Identity())


for letter in ("m", "l", "xl"):
    register_preset(f"resenc_{letter}", "resenc", **PRESET)
