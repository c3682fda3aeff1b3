"""Sizes of tensors, and memory that is used again instead of being returned and fetched anew."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def tensor_bytes(value: Any) -> int:
    """Bytes of a tensor, or of all tensors in nested dictionaries, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(tensor_bytes, items))


def tune_malloc() -> None:
    """Let glibc keep large freed blocks.

    By default blocks above 32 MB go back to the kernel when freed and come back zeroed, page by page, when allocated;
    a 3D network on the CPU spends a fifth of its time so. Does nothing where the C library is another one.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 2**30)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
