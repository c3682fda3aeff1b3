"""RetinaNet with a feature pyramid for stacks of slices."""

from __future__ import annotations

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from torch import nn

from tools.networks.depth_pooling import build_depth_pooling
from tools.networks.encoders.encoder import Encoder
from tools.networks.preparation import set_memory_format
from tools.utils.errors import InputError

FINEST = 4  # stride in pixels of the finest level
RATIOS = (0.5, 1.0, 2.0)  # aspect ratios of the anchors


class StackPyramid(nn.Module):
    """Feature pyramid of the key slice: 3D encoder maps, reduced to 2D at every level, and MONAI's 2D pyramid.

    The encoder is 3D and the top-down path 2D (Zhang et al., MICCAI 2020). The coarsest level is subsampled once more
    for an additional level.

    Args:
        encoder: encoder of stacks (B, 1, D, H, W); its maps of stride 4 and more are used.
        num_slices: number of slices D.
        depth_pooling: reduction of the depth axis, see `build_depth_pooling`.
        channels: channels of every level.

    Attributes:
        out_channels: channels of every level, as MONAI's RetinaNet requires.
        strides: strides of the levels in pixels, finest first.
    """

    def __init__(self, encoder: Encoder, num_slices: int, depth_pooling: str, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        strides = [stride[-1] for stride in encoder.strides]
        self.first = self._first_level(strides)
        size = (num_slices, *(2 * edge for edge in encoder.min_size[1:]))
        encoder.check_size(size, "num_slices")
        depths = [edges[0] for edges in encoder.map_sizes(size)]
        levels = list(zip(encoder.channels, depths, strict=True))[self.first :]
        self.projections = nn.ModuleList(build_depth_pooling(depth_pooling, width, depth) for width, depth in levels)
        self.fpn = FeaturePyramidNetwork(2, [width for width, _ in levels], channels, LastLevelMaxPool(2))
        self.out_channels = channels
        self.strides = (*strides[self.first :], 2 * strides[-1])

    @staticmethod
    def _first_level(strides: list[int]) -> int:
        found = [level for level, stride in enumerate(strides) if stride >= FINEST]
        if not found:
            raise InputError(f"encoder: expected a map of stride {FINEST} or more, found strides {strides}")
        return found[0]

    def forward(self, stacks: torch.Tensor) -> list[torch.Tensor]:
        """Compute the levels (B, channels, H / stride, W / stride) of stacks (B, 1, D, H, W), finest first."""
        maps: dict[str, torch.Tensor] = {}
        features = self.encoder.features(stacks)[self.first :]
        for level, pooling in enumerate(self.projections):
            maps[str(level)] = pooling(features[level])
        return list(self.fpn(maps).values())


class DetectionNetwork(RetinaNet):
    """MONAI's RetinaNet (Lin et al., ICCV 2017) for stacks of slices with the single class lesion.

    Args:
        encoder: encoder of stacks (B, 1, D, H, W), see `StackPyramid`.
        num_slices: number of slices of a stack.
        depth_pooling: reduction of the depth axis, see `build_depth_pooling`.
        channels: channels of the pyramid and the heads, a multiple of 8 and at least 16.

    Raises:
        InputError: if `channels` is not a multiple of 8 or less than 16.
    """

    __jit_unused_properties__ = ("encoder",)

    def __init__(
        self, encoder: Encoder, num_slices: int = 9, depth_pooling: str = "center", channels: int = 64
    ) -> None:
        if not isinstance(channels, int) or channels < 16 or channels % 8:  # group norm with 8 groups in the heads
            raise InputError(f"fpn_channels: expected a multiple of 8 and at least 16, found {channels!r}")
        pyramid = StackPyramid(encoder, num_slices, depth_pooling, channels)
        super().__init__(
            spatial_dims=2,
            num_classes=1,
            num_anchors=len(RATIOS),
            feature_extractor=pyramid,
            size_divisible=pyramid.strides[-1],
            use_list_output=True,
        )
        self.strides = pyramid.strides
        for head in (self.classification_head, self.regression_head):
            _initialise(head.conv)
        set_memory_format(self)  # up to 50 % faster on a CPU

    @property
    def encoder(self) -> Encoder:
        """Encoder of the feature pyramid."""
        return self.feature_extractor.encoder


def _initialise(tower: nn.Sequential) -> None:
    """Initialise convolutions by Kaiming's method instead of N(0, 0.01), which needs three times as many steps.

    A norm follows each convolution, so the scale of the weights only changes the effective learning rate.
    """
    for layer in tower:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
