"""Preparation of a network for training: device, memory format and compilation."""

from __future__ import annotations

import torch
from torch import nn

from tools.utils.errors import InputError

#: memory format by number of axes of a weight
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def prepare_network(
    network: nn.Module, device: torch.device | str, channels_last: bool = True, compile: bool = False
) -> nn.Module:
    """Move a network to a device and set the memory format of its weights, before the optimizer is built.

    The format of the images does not matter: a convolution returns the format of its weights, so only the input of the
    first one is converted.

    Args:
        network: changed in place; its parameters keep their names.
        device: device for training.
        channels_last: use `torch.channels_last` or `torch.channels_last_3d` instead of the contiguous format.
        compile: compile the network at its first call.

    Raises:
        InputError: if compilation is not possible.
    """
    network = network.to(device)
    set_memory_format(network, channels_last)
    if compile:
        check_compiler(device)
        network.compile()
    return network


def set_memory_format(network: nn.Module, channels_last: bool = True) -> None:
    """Set the memory format of the weights of all 2D and 3D layers."""
    for weight in network.parameters():
        order = CHANNELS_LAST.get(weight.ndim) if channels_last else None
        weight.data = weight.data.contiguous(memory_format=order or torch.contiguous_format)


def check_compiler(device: torch.device | str) -> None:
    """Compile a small function, so that a missing compiler is reported before the first step.

    Raises:
        InputError: if compilation fails.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # the compiler raises many types
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"compile: expected a compiler that torch can use, found none ({reason})") from error
