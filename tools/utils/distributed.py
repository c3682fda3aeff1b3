"""torch.distributed helpers that also work in a single process."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from tools.utils.errors import InputError

#: longest wait of a collective operation before training, during which one process may prepare data for hours
PREPARATION = timedelta(days=2)


def is_distributed() -> bool:
    """Return whether a process group is initialised."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the tensors of all ranks along dim 0, in rank order, with gradients to every rank.

    Args:
        tensor: tensor (B, ...) with the same shape on every rank.

    Returns:
        Tensor (world_size · B, ...); the tensor itself without a process group.
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


def broadcast_buffers(module: torch.nn.Module) -> None:
    """Broadcast the buffers of rank 0, such as running statistics, to all ranks."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute a masked mean whose average over ranks is the global mean.

    DistributedDataParallel averages gradients over ranks. The local sum is therefore divided by the global count per
    rank, so that the gradient is the same as in one process with the whole batch.

    Args:
        values: values of any shape.
        mask: boolean mask of the same shape, True for values to include.
    """
    count = mask.sum().to(values.dtype)
    if is_distributed():
        dist.all_reduce(count)
        count = count / world_size()
    return (values * mask).sum() / count.clamp(min=torch.finfo(values.dtype).tiny)


def local_world_size() -> int:
    """Return the number of processes on this machine, which torchrun sets."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def gather_objects(value: Any) -> list[Any]:
    """Gather a picklable value of every rank on all ranks, in rank order, over the CPU."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_cpu_group())
    return values


def call_on_first(function: Callable[[], Any]) -> Any:
    """Call a function on rank 0 and return its picklable result, or raise its `InputError`, on all ranks."""
    if world_size() == 1:
        return function()
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [function()]
        except InputError as error:
            outcome = [error]
    dist.broadcast_object_list(outcome, 0, group=_cpu_group())
    if isinstance(outcome[0], InputError):
        raise outcome[0]
    return outcome[0]


_cpu_groups: dict[Any, Any] = {}


def _cpu_group() -> Any:
    """Return the group of all ranks with gloo: NCCL needs a GPU, and ends a run whose ranks wait for 10 minutes."""
    world = dist.group.WORLD
    if dist.get_backend() == "gloo":
        return world
    if world not in _cpu_groups:
        _cpu_groups.clear()
        _cpu_groups[world] = dist.new_group(backend="gloo", timeout=PREPARATION)
    return _cpu_groups[world]


def is_first(event: str) -> bool:
    """Return whether this process is the first of the run to call this for an event; True without a process group.

    Args:
        event: name of the event.
    """
    store = connect_store() if is_distributed() else None
    try:
        mine = f"rank {rank()}"
        return store is None or store.compare_set(event, "", mine).decode() == mine
    except RuntimeError:  # the process with the store has ended
        return True


def connect_store() -> dist.Store | None:
    """Return a separate connection to the launcher's store, with keys of this start; None without such a store."""
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*address, is_master=False, timeout=timedelta(seconds=3))
    except (KeyError, RuntimeError):  # no launcher, or it has ended
        return None
    return dist.PrefixStore(f"tools/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
