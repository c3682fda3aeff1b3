"""Which cache the prepared cases of a run fit into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tools.data.cache.backends import is_image
from tools.utils import distributed
from tools.utils.memory import tensor_bytes

CACHES = ("auto", "disk", "memory", "device", "none")
DEVICE_SHARE, MEMORY_SHARE = 0.4, 0.5  # of what is free; a run needs the rest


class Choice(NamedTuple):
    """A cache, and why it was chosen in words."""

    cache: str
    reason: str


def choose_cache(
    samples: Sequence[Mapping[str, Any]], count: int, device: torch.device | None = None, has_folder: bool = True
) -> Choice:
    """Choose the fastest cache that has room: the device if it is a GPU, then memory, then the disk.

    Args:
        samples: some prepared cases, which stand for all.
        count: number of all cases.
        device: the trainer's; None keeps nothing there.
        has_folder: whether there is a folder for a cache on disk; without, it is memory whatever the size.
    """
    size, on_device = (
        sum(of(sample) for sample in samples) * count // len(samples) for of in (tensor_bytes, _device_bytes)
    )
    room = free_device_memory(device)
    if room is not None and on_device <= DEVICE_SHARE * room:
        cases = f"{count} cases take about {_say(on_device)} in half precision"
        return Choice(
            "device", f"{cases}, {DEVICE_SHARE:.0%} of what is free on {device} is {_say(DEVICE_SHARE * room)}"
        )
    room = free_memory()
    fits = size <= MEMORY_SHARE * room
    reason = (
        f"{count} cases take about {_say(size)}, {MEMORY_SHARE:.0%} of the free memory is {_say(MEMORY_SHARE * room)}"
    )
    return Choice("memory" if fits or not has_folder else "disk", reason)


def free_device_memory(device: torch.device | None) -> int | None:
    """Bytes free on a CUDA device for each process of this machine that uses it; None for any other device."""
    if device is None or device.type != "cuda":
        return None
    sharing = -(-_processes_here() // torch.cuda.device_count())
    return torch.cuda.mem_get_info(device)[0] // sharing


def free_memory() -> int:
    """Bytes of main memory that can be had for each process of the run on this machine; 0 where nothing tells."""
    room = min(_available(), _allowed())
    return int(room / _processes_here())


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size()))  # the launcher's


def _available() -> float:
    """Free memory, what the kernel would give up of its file cache included."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 if known else 0


def _allowed() -> float:
    """What the container's limit leaves, file cache included as above; infinity without a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return max(0, limit - used + int(counts["inactive_file"]))
    except (OSError, KeyError, ValueError):  # no second version of control groups, or "max"
        return float("inf")


def _device_bytes(sample: Mapping[str, Any]) -> int:
    return sum(image.numel() * min(2, image.element_size()) for image in sample.values() if is_image(image))


def _say(size: float) -> str:
    return f"{size / 2**20:.0f} MB" if size < 2**30 else f"{size / 2**30:.1f} GB"
