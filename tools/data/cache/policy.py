"""Automatic selection of the cache from the size of the data and the free memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tools.data.cache.samples import is_image
from tools.utils import distributed
from tools.utils.files import format_size
from tools.utils.memory import tensor_bytes

CACHES = ("auto", "disk", "memory", "device", "lazy", "none")
DEVICE_FRACTION, MEMORY_FRACTION = 0.4, 0.5  # of the free memory; the rest is for training


class Choice(NamedTuple):
    """Selected cache and the reason in words."""

    cache: str
    reason: str


def choose_cache(
    samples: Sequence[Mapping[str, Any]], count: int, device: torch.device | None = None, has_folder: bool = True
) -> Choice:
    """Choose the fastest cache with enough space: a GPU, then memory, then the disk.

    Args:
        samples: some preprocessed cases, from which the total size is estimated.
        count: number of cases.
        device: device of the trainer; None for no device cache.
        has_folder: whether there is a folder for a disk cache; without one, memory is used for any size.
    """
    size, on_device = (
        sum(of(sample) for sample in samples) * count // len(samples) for of in (tensor_bytes, _device_bytes)
    )
    room = free_device_memory(device)
    if room is not None and on_device <= DEVICE_FRACTION * room:
        cases = f"{count} cases need about {format_size(on_device)} in half precision"
        limit = format_size(DEVICE_FRACTION * room)
        return Choice("device", f"{cases}, {DEVICE_FRACTION:.0%} of the free memory of {device} is {limit}")
    room = free_memory()
    fits = size <= MEMORY_FRACTION * room
    limit = format_size(MEMORY_FRACTION * room)
    reason = f"{count} cases need about {format_size(size)}, {MEMORY_FRACTION:.0%} of the free memory is {limit}"
    return Choice("memory" if fits or not has_folder else "disk", reason)


def free_device_memory(device: torch.device | None) -> int | None:
    """Return the free memory in bytes of a CUDA device, divided by its processes; None for other devices."""
    if device is None or device.type != "cuda":
        return None
    sharing = -(-distributed.local_world_size() // torch.cuda.device_count())
    return torch.cuda.mem_get_info(device)[0] // sharing


def free_memory() -> int:
    """Return the available main memory in bytes, divided by the processes on this machine; 0 if unknown."""
    room = min(_available(), _allowed())
    return int(room / distributed.local_world_size())


def _available() -> float:
    """Return the available memory, including reclaimable file cache."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 if known else 0


def _allowed() -> float:
    """Return the available memory within the limit of the container; infinity without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return max(0, limit - used + int(counts["inactive_file"]))
    except (OSError, KeyError, ValueError):  # no cgroup v2, or no limit ("max")
        return float("inf")


def _device_bytes(sample: Mapping[str, Any]) -> int:
    return sum(image.numel() * min(2, image.element_size()) for image in sample.values() if is_image(image))
