"""Detection of exhausted resources: memory, disk, open files and network disks."""

from __future__ import annotations

import errno
import re

import torch

from tools.utils.errors import InputError, WriteError, find_error

MEMORY = "the main memory is full; use fewer processes, smaller images or --cache disk"
DEVICE = "the memory of the GPU is full"
DISK = "the disk is full"
QUOTA = "the quota of the disk is used up"
THREADS = "no more threads can be started; use fewer workers, or raise the limit of processes (ulimit -u)"
FILES = "too many files are open; raise the limit (ulimit -n)"
NETWORK = "the network disk does not respond; mount it again"

BY_NUMBER = {
    errno.ENOMEM: MEMORY,
    errno.ENOSPC: DISK,
    errno.EDQUOT: QUOTA,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), FILES),
    **dict.fromkeys((errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH), NETWORK),
}
#: messages of the `RuntimeError` that torch and threading raise
BY_TEXT = {
    r"CUDA out of memory|MPS backend out of memory|CUDA error: out of memory": DEVICE,
    r"Failed to allocate memory|insufficient shared memory": MEMORY,
    r"can't allocate memory|not enough memory|Cannot allocate memory|killed by signal: Killed": MEMORY,
    r"can't start new thread": THREADS,
    r"No space left on device": DISK,
    r"Disk quota exceeded": QUOTA,
    r"Too many open files": FILES,
}


class ResourceError(InputError):
    """Error of an exhausted resource, which stops the run also with ``skip_bad``."""


def find_shortage(error: BaseException | None) -> str | None:
    """Return the exhausted resource according to an error or its causes, or None.

    Args:
        error: exception, possibly one that wraps the original exception.
    """
    found = find_error(error, lambda one: _shortage(one) is not None)
    return None if found is None else _shortage(found)


def _shortage(error: BaseException) -> str | None:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return DEVICE
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError):
        return BY_NUMBER.get(error.errno)
    if not isinstance(error, RuntimeError):
        return None
    return next((shortage for pattern, shortage in BY_TEXT.items() if re.search(pattern, str(error))), None)


def raise_shortage(name: str, error: BaseException) -> None:
    """Raise if an error is not caused by a single case; otherwise return.

    Args:
        name: description of the operation, for the message.
        error: exception of a case.

    Raises:
        ResourceError: if a resource is exhausted.
        BaseException: `error` itself if it is a `ResourceError`, a `WriteError` or not an `Exception`, such as
            `KeyboardInterrupt`.
    """
    if isinstance(error, ResourceError | WriteError) or not isinstance(error, Exception):
        raise error
    if shortage := find_shortage(error):
        raise ResourceError(f"{name}: {shortage}") from error
