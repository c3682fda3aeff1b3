"""3D encoders of thin slice stacks, such as a CT slice with its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.networks.encoders import Encoder, build_encoder, parse_encoder
from tools.networks.encoders.depth_stride import remove_depth_stride
from tools.networks.encoders.resnet import ResNetEncoder
from tools.networks.norms import AUTO


def build_anisotropic_encoder(name: str | Sequence[Any], norm: str | Sequence[Any] = "batch") -> Encoder:
    """Build a one-channel 3D encoder without strides along depth.

    The strides along depth are removed, see `remove_depth_stride`, unless the encoder is already anisotropic. In
    residual networks, the stem has stride 2, and the last norm of each block is initialised with 0 (Goyal et al., arXiv
    1706.02677). The weights are compatible with the isotropic encoder of the same name.

    Args:
        name: encoder, see `build_encoder`.
        norm: norm layer, see `build_encoder`.

    Raises:
        InputError: if the encoder cannot keep all slices, and as `build_encoder`.
    """
    options = {"conv1_t_stride": 2} if parse_encoder(name)[0].startswith("resnet") else {}
    encoder = build_encoder(name, 3, 1, norm, **options)
    if all(len({*stride}) == 1 for stride in encoder.strides):
        remove_depth_stride(encoder)
    if isinstance(encoder, ResNetEncoder):
        encoder.zero_residual_norms()
    return encoder


def build_stack_encoder(name: str | Sequence[Any], norm: str | Sequence[Any] = AUTO) -> Encoder:
    """Build a one-channel 3D encoder of stacks with any number of slices, see `build_anisotropic_encoder`.

    ``unet`` keeps its strides along depth and rounds up. This takes half the time, and detection needs far fewer
    training examples. For all other encoders, the result equals `build_anisotropic_encoder`.
    """
    if parse_encoder(name)[0] == "unet":
        return build_encoder(name, 3, 1, norm, round_up=True)
    return build_anisotropic_encoder(name, norm)
