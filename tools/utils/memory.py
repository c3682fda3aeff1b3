"""Tensor sizes and configuration of the memory allocator."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def tensor_bytes(value: Any) -> int:
    """Return the size in bytes of a tensor, or of all tensors in nested dictionaries, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(tensor_bytes, items))


def tune_malloc() -> None:
    """Configure glibc to keep large freed blocks instead of returning them to the kernel.

    By default blocks above 32 MB are returned and zeroed again, which takes a fifth of the time of a 3D network on the
    CPU. There is no effect with other C libraries.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 2**30)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
