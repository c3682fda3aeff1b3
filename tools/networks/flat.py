"""Encoders of stacks of few slices: pictures lifted to volumes, or the neighbours of a slice of CT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tools.networks.encoder import ENCODERS, Encoder, build_encoder
from tools.utils.errors import InputError

FAMILIES = ("unet", "resnet", "p3d", "mp3d")


def build_flat_encoder(name: str, norm: str | Sequence[Any] = "batch") -> Encoder:
    """Build an encoder of one-channel volumes of few slices: the depth is never strided, residual stems stride by 2.

    Its weights are those of `build_encoder` without the two options, which then strides along all axes alike. Blocks of
    residual networks start as their shortcut: the scale of their last norm is 0 (Goyal et al., arXiv 1706.02677).

    Args:
        name: ``unet``, ``resnet…``, or ``p3d…`` and ``mp3d…``, which stride within slices anyway.
        norm: see `build_encoder`.

    Raises:
        InputError: for another encoder, see also `build_encoder`.
    """
    if not name.startswith(FAMILIES):
        fitting = [one for one in ENCODERS if one.startswith(FAMILIES)]
        raise InputError(f"encoder: expected one that can keep the depth ({', '.join(fitting)}), found {name!r}")
    if name == "unet":
        return build_encoder(name, 3, 1, norm, depth_stride=False)
    if not name.startswith("resnet"):
        return build_encoder(name, 3, 1, norm)
    encoder = build_encoder(name, 3, 1, norm, conv1_t_stride=2, depth_stride=False)
    for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        for block in layer:
            last = block.bn3 if hasattr(block, "bn3") else block.bn2
            if last.weight is not None:
                nn.init.zeros_(last.weight)
    return encoder


def build_stack_encoder(name: str, norm: str | Sequence[Any] = "group") -> Encoder:
    """Build an encoder that takes stacks of any number of slices; arguments and errors as for `build_flat_encoder`.

    ``unet`` pools slices like rows and columns and rounds up, which takes half the time of keeping them, and learns to
    detect from far fewer examples; the others are those of `build_flat_encoder`.
    """
    return build_encoder(name, 3, 1, norm, round_up=True) if name == "unet" else build_flat_encoder(name, norm)
