"""Memory that is used again instead of being returned and fetched anew."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def reuse_freed_memory() -> None:
    """Let glibc keep large freed blocks.

    By default blocks above 32 MB go back to the kernel when freed and come back zeroed, page by page, when allocated;
    a 3D network on the CPU spends a fifth of its time so. Does nothing where the C library is another one.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 2**30)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
