"""Swin transformer of MONAI's SwinUNETR as encoder; needs the optional package einops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import SwinTransformer
from monai.utils import ensure_tuple_rep

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.options import check_counts, check_stages
from tools.networks.encoders.registry import register_encoder
from tools.utils.errors import InputError
from tools.utils.packages import require_package


@register_encoder("swin")
class SwinEncoder(Encoder):
    """Transformer of ``SwinUNETR`` (Hatamizadeh et al., BrainLes 2021), with its outputs and keys (``swinViT.``).

    Five maps of strides 2, 4, 8, 16 and 32 with MONAI's default layer norm over channels; edges are rounded up. It
    cannot be scripted: ``ckpt_export`` needs ``--use_trace True`` and an ``--input_shape``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        feature_size: channels of the finest map; 48 in published weights.
        depths: transformer blocks of the four stages.
        num_heads: attention heads of the four stages, divisors of their channels.
        window_size: edge of the attention windows in tokens.
        use_v2: a residual convolution block before each stage (He et al., MICCAI 2023).

    Raises:
        InputError: if the package is missing, or sizes are incompatible.
    """

    scriptable = False

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        feature_size: int = 24,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int | Sequence[int] = 7,
        use_v2: bool = False,
    ) -> None:
        require_package("einops", "einops", "encoder swin")
        (width,) = check_counts("feature_size", [feature_size], 1)
        depths, heads = check_counts("depths", depths, 4), check_counts("num_heads", num_heads, 4)
        strides = (2, 4, 8, 16, 32)
        widths = [width * stride // 2 for stride in strides]
        if any(channels % number for channels, number in zip(widths, heads, strict=False)):
            raise InputError(f"feature_size: expected stages {widths[:4]} with divisors as num_heads, found {heads}")
        smallest = 17 if use_v2 else 1  # its last instance norm has stride 16 and needs two voxels
        super().__init__(widths, strides, spatial_dims, in_channels, smallest)
        stock = SwinTransformer(
            in_channels,
            feature_size,
            check_stages("window_size", [window_size], 1, spatial_dims)[0],
            ensure_tuple_rep(2, spatial_dims),
            depths,
            heads,
            spatial_dims=spatial_dims,
            use_v2=use_v2,
        )
        self.use_v2 = use_v2
        for name, module in stock.named_children():
            self.add_module(name, module)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to the five maps, finest first."""
        x = self.pos_drop(self.patch_embed(x))
        maps = [x]
        for level in (1, 2, 3, 4):
            if self.use_v2:
                x = self.get_submodule(f"layers{level}c")[0](x.contiguous())
            x = self.get_submodule(f"layers{level}")[0](x.contiguous())
            maps.append(x)
        return [F.layer_norm(one.movedim(1, -1), one.shape[1:2]).movedim(-1, 1) for one in maps]
