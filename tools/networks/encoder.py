"""What every encoder offers, and how one is built by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.networks.layers.factories import Norm, split_args
from monai.utils import ensure_tuple_rep
from torch import nn

from tools.utils.errors import InputError, check_choice

#: norm layers by one word, as MONAI's (name, arguments)
NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("group", {"num_groups": 8}),
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
}


class Encoder(nn.Module):
    """A network that maps an image to feature maps of growing stride; all heads are built on this interface alone.

    Attributes:
        channels: channels of each map of `features`, finest first.
        strides: cumulative stride of each map in voxels.
        depth_strides: the same along the first spatial axis, where an encoder can treat it apart.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        min_size: smallest edge in voxels an input may have.
        min_depth: the same along the first spatial axis, where an encoder can treat it apart.
        arguments: JSON-able keyword arguments of `build_encoder` that give this architecture again; empty when the
            encoder was built otherwise.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        spatial_dims: int,
        in_channels: int,
        min_size: int,
        depth_strides: Sequence[int] | None = None,
        min_depth: int | None = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.depth_strides = tuple(strides if depth_strides is None else depth_strides)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.min_size = min_size
        self.min_depth = min_size if min_depth is None else min_depth
        self.arguments: dict[str, Any] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, [D,] H, W) to the last feature map."""
        return self.features(x)[-1]

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, [D,] H, W) to all feature maps, finest first."""
        raise NotImplementedError

    def map_depths(self, depth: int) -> tuple[int, ...]:
        """Depth of each map of a stack of `depth` slices, for an encoder that never strides across them.

        Raises:
            InputError: for another encoder.
        """
        if set(self.depth_strides) != {1}:
            raise InputError(f"encoder: expected one that keeps the depth, found strides {self.depth_strides}")
        return (depth,) * len(self.channels)


def refuse_flat_pictures(spatial_dims: int, depth_stride: bool) -> None:
    """Raise an `InputError` where the depth is to be kept and there is none."""
    if spatial_dims == 2 and not depth_stride:
        raise InputError("depth_stride: expected True in 2D, where there is no depth, found False")


def keep_depth(encoder: nn.Module) -> None:
    """Let the convolutions and poolings of a 3D network stride within slices only; pools of 2 voxels become flat."""
    for module in encoder.modules():
        if isinstance(module, (nn.Conv3d, nn.MaxPool3d)):
            module.stride = (1, *ensure_tuple_rep(module.stride, 3)[1:])
        if isinstance(module, nn.MaxPool3d) and ensure_tuple_rep(module.kernel_size, 3) == (2, 2, 2):
            module.kernel_size = (1, 2, 2)


#: every encoder by name; the modules that define them add to it
ENCODERS: dict[str, Callable[..., Encoder]] = {}


def parse_norm(norm: str | Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Turn a word of `NORMS`, or MONAI's (name, arguments), into the latter.

    Raises:
        InputError: for an unknown word or name.
    """
    if isinstance(norm, str):
        return NORMS[check_choice(norm, NORMS, "norm")]
    if len(norm) != 2 or not isinstance(norm[0], str) or not isinstance(norm[1], dict):
        raise InputError(f"norm: expected one of {', '.join(NORMS)} or [name, {{arguments}}], found {norm!r}")
    return check_choice(norm[0].lower(), [name.lower() for name in Norm.names], "norm"), dict(norm[1])


def is_instance(norm: tuple[str, dict[str, Any]]) -> bool:
    """Say whether a norm needs more than one voxel per map (it normalises each channel of each map alone)."""
    return split_args(norm)[0].lower().startswith("instance")


def build_encoder(
    name: str = "unet",
    spatial_dims: int = 3,
    in_channels: int = 1,
    norm: str | Sequence[Any] = "group",
    **options: Any,
) -> Encoder:
    """Build an encoder and remember how, defaults spelled out, in its `arguments`.

    Args:
        name: a key of `ENCODERS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        norm: ``group`` (8 groups), ``batch``, ``instance`` (affine), or MONAI's ``(name, {arguments})``.
        options: further arguments of that encoder's class.

    Raises:
        InputError: for an unknown name, norm or option, or options that do not go together.
    """
    factory = ENCODERS[check_choice(name, ENCODERS, "encoder")]
    if spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims: expected 2 or 3, found {spatial_dims!r}")
    if not isinstance(in_channels, int) or in_channels < 1:
        raise InputError(f"in_channels: expected a whole number above 0, found {in_channels!r}")
    try:
        encoder = factory(spatial_dims=spatial_dims, in_channels=in_channels, norm=parse_norm(norm), **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"encoder {name} with norm {norm!r} and options {options}: {error}") from error
    defaults = {k: p.default for k, p in inspect.signature(factory).parameters.items() if p.default is not p.empty}
    given = {"name": name, "spatial_dims": spatial_dims, "in_channels": in_channels, "norm": norm}
    arguments = {**given, **defaults, **options}  # defaults may change in a later version
    encoder.arguments = json.loads(json.dumps(arguments))  # equal to what a card gives back: lists, no tuples
    return encoder
