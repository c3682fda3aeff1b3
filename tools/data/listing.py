"""Lists of cases that rank 0 makes and sends to the other ranks, so that a folder is searched once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tools.utils import distributed

P, T = ParamSpec("P"), TypeVar("T")


def listed_once(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function with the argument `dataset_dir` that runs on rank 0; all ranks must call it.

    If `dataset_dir` is another path on another rank, such as another mount point, the paths of the cases start with it.
    """

    @functools.wraps(function)
    def call(dataset_dir: str | Path, *args: P.args, **kwargs: P.kwargs) -> T:
        root = os.path.abspath(os.path.expanduser(dataset_dir))
        first, found = distributed.call_on_first(lambda: (root, function(dataset_dir, *args, **kwargs)))
        return found if first == root else _move(found, first, root)

    return call


def _move(value: Any, old: str, new: str) -> Any:
    """Replace the folder at the start of all paths in nested dictionaries and lists."""
    if isinstance(value, dict):
        return {key: _move(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_move(one, old, new) for one in value]
    if isinstance(value, str) and (value == old or value.startswith(old + os.sep)):
        return new + value[len(old) :]
    return value
