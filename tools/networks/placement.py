"""Where a network lies: device, order of its channels in memory, compiled or not."""

from __future__ import annotations

import torch
from torch import nn

from tools.utils.errors import InputError

#: memory format by number of axes of a weight
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def place_network(
    network: nn.Module, device: torch.device | str, channels_last: bool = True, compile: bool = False
) -> nn.Module:
    """Bring a network to its device, its weights in one order, before an optimizer asks for its parameters.

    Images need not be in that order: a convolution answers in the order of its weights, so only the first rearranges
    its input, of few channels.

    Args:
        network: changed in place; its parameters keep their names.
        device: where it trains.
        channels_last: channels innermost in memory, in pictures' and volumes' weights alike; else outermost.
        compile: let torch compile it at its first call.

    Raises:
        InputError: when it shall be compiled and no compiler is found.
    """
    network = network.to(device)
    for weight in network.parameters():
        order = CHANNELS_LAST.get(weight.ndim) if channels_last else None
        weight.data = weight.data.contiguous(memory_format=order or torch.contiguous_format)
    if compile:
        check_compiler(device)
        network.compile()
    return network


def check_compiler(device: torch.device | str) -> None:
    """Compile an addition, so that what is missing is said before the first step.

    Raises:
        InputError: when that fails.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # of the compiler's many parts
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"compile: expected a compiler that torch can use, found none ({reason})") from error
