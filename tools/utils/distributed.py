"""The few questions the code asks about the process group, answered alike with and without one."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


def is_distributed() -> bool:
    """Whether a process group is initialised."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate a tensor of all ranks along dim 0, in rank order, with gradient to every rank.

    Args:
        tensor: (B, ...), the same shape on every rank.

    Returns:
        (world_size · B, ...); the tensor itself without a process group.
    """
    if not is_distributed():
        return tensor
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        parts = [part.contiguous() for part in gradient.chunk(world_size())]
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts)  # every rank used this rank's part
        return own


def share_buffers(module: torch.nn.Module) -> None:
    """Give every rank rank 0's buffers, such as the running statistics each rank has updated with its own batch."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the unmasked values over all ranks, such that averaging over ranks gives the global mean.

    DistributedDataParallel averages gradients over ranks; dividing the local sum by the *global* count over the
    number of ranks makes that average the gradient one process would have computed on the whole batch.

    Args:
        values: any shape.
        mask: same shape, True where a value counts.
    """
    count = mask.sum().to(values.dtype)
    if is_distributed():
        dist.all_reduce(count)
        count = count / world_size()
    return (values * mask).sum() / count.clamp(min=torch.finfo(values.dtype).tiny)


def gather_objects(value: Any) -> list[Any]:
    """Collect a picklable value of every rank on every rank, in rank order."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def is_first(event: str) -> bool:
    """Whether no other process of the run has called this before with the same event; True without a process group.

    Args:
        event: its name.
    """
    if not is_distributed():
        return True
    try:
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=3)
        )
        key, mine = f"{event}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", f"rank {rank()}"
        return store.compare_set(key, "", mine).decode() == mine
    except (KeyError, RuntimeError):  # the process that kept the store has ended
        return True
