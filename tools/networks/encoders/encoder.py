"""Interface of an encoder: feature maps of growing stride, and the declarations that heads and decoders rely on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from tools.networks.norms import NORMS
from tools.utils.errors import InputError, one_line


class Encoder(nn.Module):
    """Network that maps an image to feature maps, finest first; heads and decoders only use this interface.

    A subclass declares its maps in ``super().__init__`` and implements `features`. It overrides `map_sizes` if the
    edges of its maps differ from the edges of the input divided by the strides and rounded up.

    Args:
        channels: channels of each map, finest first; any number of maps.
        strides: cumulative stride of each map in voxels, one number or one per axis.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        min_size: smallest edge of an input in voxels, one number or one per axis.
        divisor: edges of an input must be multiples of it, likewise.
        norm: MONAI's (name, arguments) of its norm layers, which decoders use as well.

    Attributes:
        channels: as above.
        strides: stride of each map along each axis.
        spatial_dims: as above.
        in_channels: as above.
        min_size: smallest input along each axis, a multiple of `divisor`.
        divisor: along each axis.
        norm: as above.
        arguments: JSON-able keyword arguments of `build_encoder` that build this architecture again; empty if the
            encoder was built otherwise.
        scriptable: whether TorchScript compiles the class; it exports others by tracing, for one size of images.

    Raises:
        InputError: if declarations contradict each other.
    """

    scriptable = True

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int | Sequence[int]],
        spatial_dims: int,
        in_channels: int,
        min_size: int | Sequence[int] = 1,
        divisor: int | Sequence[int] = 1,
        norm: tuple[str, dict[str, Any]] = NORMS["group"],
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(ensure_tuple_rep(stride, spatial_dims) for stride in strides)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.divisor = ensure_tuple_rep(divisor, spatial_dims)
        least = zip(ensure_tuple_rep(min_size, spatial_dims), self.divisor, strict=True)
        self.min_size = tuple(-(-edge // step) * step for edge, step in least)
        self.norm = norm
        self.arguments: dict[str, Any] = {}
        self._check_declarations()

    def _check_declarations(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides):
            raise InputError(
                f"{type(self).__name__}: expected channels and strides of the same number of maps, found "
                f"{list(self.channels)} and {list(self.strides)}"
            )
        for finer, coarser in zip(self.strides, self.strides[1:], strict=False):
            if any(b % a for a, b in zip(finer, coarser, strict=True)):
                raise InputError(
                    f"{type(self).__name__}: expected strides that are multiples of those before, found "
                    f"{list(self.strides)}"
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to the last feature map."""
        return self.features(x)[-1]

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to all feature maps, finest first."""
        raise NotImplementedError

    def map_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the edges of each map of an image with edges `size`."""
        return [tuple(-(-edge // step) for edge, step in zip(size, stride, strict=True)) for stride in self.strides]

    def check_maps(self) -> None:
        """Compare the maps of a small image of zeros with the declared ones.

        Raises:
            InputError: if the maps differ, or the encoder fails on an image that the declarations allow.
        """
        coarsest = zip(self.min_size, self.divisor, self.strides[-1], strict=True)
        size = [-(-edge // math.lcm(step, stride)) * math.lcm(step, stride) for edge, step, stride in coarsest]
        training, device = self.training, next(self.parameters()).device
        try:
            with torch.no_grad():
                maps = self.eval().features(torch.zeros(2, self.in_channels, *size, device=device))
            found = [(one.shape[1], *one.shape[2:]) for one in maps]
        except Exception as error:  # a user's code can fail in any way
            found = f"{type(error).__name__}: {one_line(error)}"
        self.train(training)
        declared = [(width, *edges) for width, edges in zip(self.channels, self.map_sizes(size), strict=True)]
        if found != declared:
            raise InputError(
                f"encoder {self.arguments.get('name', type(self).__name__)}: expected maps (channels, *edges) "
                f"{declared} of an image of {_spell(size)} as declared, found {found}"
            )

    def check_size(self, size: Sequence[int], key: str = "roi_size") -> None:
        """Check the edges of an image.

        Args:
            size: edges in voxels.
            key: configuration key that determines them, for the message.

        Raises:
            InputError: if an edge is too short, or not a multiple of the divisor.
        """
        limits = zip(size, self.min_size, self.divisor, strict=True)
        if all(edge >= least and edge % step == 0 for edge, least, step in limits):
            return
        multiples = "" if set(self.divisor) == {1} else f", in multiples of {_spell(self.divisor)},"
        name = self.arguments.get("name", type(self).__name__)
        raise InputError(
            f"{key}: expected images or patches of at least {_spell(self.min_size)} voxels{multiples} for encoder "
            f"{name}, found {_spell(size)}; change {key}, or the number of cells if there is a grid"
        )


def _spell(edges: Sequence[int]) -> str:
    return " x ".join(map(str, edges))
