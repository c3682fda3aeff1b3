"""Copying of a state dict into a network, as fast as reading it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def copy_weights(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy all tensors of a state dict that has the network's keys and shapes; faster than `load_state_dict`.

    Tensors with two names in both the network and the state dict, as in nnU-Net's networks, are copied once.

    Args:
        network: network, changed in place.
        state: state dict, whose kernels may be permuted views.
    """
    done = set()
    with torch.no_grad():
        for key, target in network.state_dict().items():
            pair = target.data_ptr(), state[key].data_ptr()
            if pair not in done:
                _copy(target, state[key])
            done.add(pair)


def _copy(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copy like `Tensor.copy_`, but six times as fast for permuted views of kernels (out, in, D, H, W)."""
    order = sorted(range(2, source.ndim), key=lambda axis: -source.stride(axis))
    stored = source.permute(0, 1, *order) if order else source
    same = source.dtype == target.dtype and source.device == target.device
    if source.is_contiguous() or not (same and stored.is_contiguous() and target.is_contiguous()):
        target.copy_(source)
        return
    back = [order.index(axis) for axis in range(2, source.ndim)]
    voxels = stored[0, 0].numel()
    index = torch.arange(voxels, device=target.device).view(stored.shape[2:]).permute(back).flatten()
    torch.index_select(stored.reshape(-1, voxels), 1, index, out=target.view(-1, voxels))
