"""The network that looks for lesions in a stack of slices: maps of scores and of boxes of its key slice."""

from __future__ import annotations

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from torch import nn

from tools.networks.depth_pooling import build_depth_pooling
from tools.networks.encoders.encoder import Encoder
from tools.networks.preparation import set_memory_format
from tools.utils.errors import InputError

FINEST = 4  # stride in pixels of the finest map that is used
RATIOS = (0.5, 1.0, 2.0)  # of the edges of the boxes asked about at every place


class StackPyramid(nn.Module):
    """2D feature pyramid of the key slice: an encoder's 3D maps, projected level by level, and MONAI's 2D pyramid.

    So depth is gone through on the way up and not on the way down (Zhang et al., MICCAI 2020). One coarser level is
    the coarsest one subsampled.

    Args:
        encoder: of stacks (B, 1, D, H, W); its maps of stride 4 and more are used.
        slices: D.
        projection: see `build_depth_pooling`.
        channels: of every level.

    Attributes:
        out_channels: `channels`, under the name MONAI's RetinaNet looks for.
        strides: of every level, in pixels, finest first.
    """

    def __init__(self, encoder: Encoder, slices: int, projection: str, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        strides = [stride[-1] for stride in encoder.strides]
        self.first = self._first_level(strides)
        size = (slices, *(2 * edge for edge in encoder.min_size[1:]))
        encoder.check_size(size, "slices")
        depths = [edges[0] for edges in encoder.map_sizes(size)]
        levels = list(zip(encoder.channels, depths, strict=True))[self.first :]
        self.projections = nn.ModuleList(build_depth_pooling(projection, width, depth) for width, depth in levels)
        self.fpn = FeaturePyramidNetwork(2, [width for width, _ in levels], channels, LastLevelMaxPool(2))
        self.out_channels = channels
        self.strides = (*strides[self.first :], 2 * strides[-1])

    @staticmethod
    def _first_level(strides: list[int]) -> int:
        found = [level for level, stride in enumerate(strides) if stride >= FINEST]
        if not found:
            raise InputError(f"encoder: expected one with a map of stride {FINEST} or more, found {strides}")
        return found[0]

    def forward(self, stacks: torch.Tensor) -> list[torch.Tensor]:
        """Map stacks (B, 1, D, H, W) to levels (B, channels, H / stride, W / stride), finest first."""
        maps: dict[str, torch.Tensor] = {}
        found = self.encoder.features(stacks)[self.first :]
        for level, projection in enumerate(self.projections):
            maps[str(level)] = projection(found[level])
        return list(self.fpn(maps).values())


class DetectionNetwork(RetinaNet):
    """MONAI's RetinaNet (Lin et al., ICCV 2017) on stacks of slices, with one class: lesion.

    Args:
        encoder: see `StackPyramid`, as are the next two.
        slices: slices of a stack.
        projection: from a stack's maps to its key slice's.
        channels: of the pyramid and the heads; a multiple of 8, 16 at least.

    Raises:
        InputError: for other `channels`.
    """

    __jit_unused_properties__ = ("encoder",)

    def __init__(self, encoder: Encoder, slices: int = 9, projection: str = "center", channels: int = 64) -> None:
        if not isinstance(channels, int) or channels < 16 or channels % 8:  # the heads' norms have 8 groups
            raise InputError(f"fpn_channels: expected a multiple of 8, 16 at least, found {channels!r}")
        pyramid = StackPyramid(encoder, slices, projection, channels)
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
        set_memory_format(self)  # a half to a third less time on a CPU

    @property
    def encoder(self) -> Encoder:
        """The part that pretraining gives."""
        return self.feature_extractor.encoder


def _initialise(tower: nn.Sequential) -> None:
    """Draw weights from Kaiming's distribution instead of N(0, 0.01).

    A norm follows each of them, so their size does not matter, but how far a step moves them does: three times as many
    steps are needed from weights that small.
    """
    for layer in tower:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
