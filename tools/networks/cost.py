"""Parameters, operations and memory of a training step, computed with fake tensors, which have shapes and no values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

#: bytes per parameter: weight, gradient and the two moments of AdamW in float32
PARAMETER_BYTES = 16
GIB = 2**30


def count(network: nn.Module, inputs: Any) -> dict[str, int]:
    """Parameters, operations of a forward and backward pass, and bytes that the backward pass keeps.

    Args:
        network: network on the CPU; its weights are replaced by fake tensors.
        inputs: input of the network, tensors in any nesting.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    inputs = tree_map_only(torch.Tensor, fake.from_tensor, inputs)
    for module in network.train().modules():
        _replace(module._parameters, lambda one: nn.Parameter(fake.from_tensor(one.detach()), one.requires_grad))
        _replace(module._buffers, fake.from_tensor)
    weights = {_storage(one) for one in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with fake, FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = [one for one in tree_leaves(network(inputs)) if torch.is_tensor(one) and one.requires_grad]
        sum(one.sum() for one in outputs).backward()
    parameters = sum(one.numel() for one in network.parameters())
    return {"parameters": parameters, "operations": counter.get_total_flops(), "kept_bytes": sum(kept.values())}


def _replace(tensors: dict[str, torch.Tensor | None], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors.update({name: change(one) for name, one in tensors.items() if one is not None})


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
