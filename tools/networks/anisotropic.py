"""Encoders of stacks of few slices: photographs as volumes, or the neighbours of a slice of CT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.networks.encoders import Encoder, build_encoder, parse_encoder
from tools.networks.encoders.depth_stride import remove_depth_stride
from tools.networks.encoders.resnet import ResNetEncoder
from tools.networks.norms import AUTO


def build_anisotropic_encoder(name: str | Sequence[Any], norm: str | Sequence[Any] = "batch") -> Encoder:
    """Build an encoder of one-channel stacks of few slices.

    The strides along depth are removed, see `remove_depth_stride`, unless the encoder has other ones than within
    slices. The stem of residual networks has stride 2, and their blocks start as their shortcut (Goyal et al., arXiv
    1706.02677). The weights fit the encoder of the same name with equal strides.

    Args:
        name: see `build_encoder`.
        norm: likewise.

    Raises:
        InputError: an encoder that cannot keep all slices, see also `build_encoder`.
    """
    options = {"conv1_t_stride": 2} if parse_encoder(name)[0].startswith("resnet") else {}
    encoder = build_encoder(name, 3, 1, norm, **options)
    if all(len({*stride}) == 1 for stride in encoder.strides):
        remove_depth_stride(encoder)
    if isinstance(encoder, ResNetEncoder):
        encoder.zero_residual_norms()
    return encoder


def build_stack_encoder(name: str | Sequence[Any], norm: str | Sequence[Any] = AUTO) -> Encoder:
    """Build an encoder of stacks of any number of slices; arguments and errors of `build_anisotropic_encoder`.

    ``unet`` pools slices like rows and columns and rounds up, which takes half the time of keeping them and learns to
    detect from far fewer examples; the others are those of `build_anisotropic_encoder`.
    """
    if parse_encoder(name)[0] == "unet":
        return build_encoder(name, 3, 1, norm, round_up=True)
    return build_anisotropic_encoder(name, norm)
