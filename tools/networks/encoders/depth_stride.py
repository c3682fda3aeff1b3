"""Removal of the strides along depth, for encoders of thin stacks."""

from __future__ import annotations

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from tools.networks.encoders.encoder import Encoder
from tools.utils.errors import InputError, one_line

POOLS = (nn.MaxPool3d, nn.AvgPool3d)


def remove_depth_stride(encoder: Encoder) -> Encoder:
    """Remove the strides along depth of a 3D encoder and update its declared strides; weights are unchanged.

    Convolutions and poolings get the stride 1 along the first spatial axis, and poolings of 2 voxels become flat.

    Args:
        encoder: changed in place.

    Returns:
        The encoder.

    Raises:
        InputError: if the encoder still loses slices without these strides.
    """
    encoder.arguments["depth_stride"] = False
    if {stride[0] for stride in encoder.strides} == {1}:
        return encoder
    for module in encoder.modules():
        if isinstance(module, (nn.Conv3d, *POOLS)):
            module.stride = (1, *ensure_tuple_rep(module.stride, 3)[1:])
        if isinstance(module, POOLS) and ensure_tuple_rep(module.kernel_size, 3)[0] == 2:
            module.kernel_size = (1, *ensure_tuple_rep(module.kernel_size, 3)[1:])
    encoder.strides = tuple((1, *stride[1:]) for stride in encoder.strides)
    encoder.min_size, encoder.divisor = ((1, *edges[1:]) for edges in (encoder.min_size, encoder.divisor))
    _check_depth(encoder)
    return encoder


def _check_depth(encoder: Encoder, depth: int = 3) -> None:
    device, training = next(encoder.parameters()).device, encoder.training
    stack = torch.zeros(1, encoder.in_channels, depth, *encoder.min_size[1:], device=device)
    try:
        with torch.no_grad():
            maps = encoder.eval().features(stack)
    except (RuntimeError, ValueError) as error:
        found = f"fails ({one_line(error)})"
    else:
        found = f"returns maps of {', '.join(str(one.shape[2]) for one in maps)} slices for a stack of {depth}"
        if all(one.shape[2] == depth for one in maps):
            encoder.train(training)
            return
    name = encoder.arguments.get("name", type(encoder).__name__)
    raise InputError(
        f"encoder: expected one that can keep all slices, such as unet or resnet18, found {name}, which {found} "
        "without strides along depth"
    )
