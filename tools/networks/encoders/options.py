"""Check of encoder options that have one entry per stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.utils import ensure_tuple_rep

from tools.utils.errors import InputError


def check_stages(key: str, values: Any, count: int, axes: int = 1) -> list[list[int]]:
    """Return sizes of each stage as one list per stage with one integer per axis.

    Args:
        key: option, for the message.
        values: one integer, or one per axis, for each stage.
        count: number of stages.
        axes: number of axes.

    Raises:
        InputError: if there is another number of stages or axes, or a value that is no integer above 0.
    """
    try:
        found = [list(ensure_tuple_rep(one, axes)) for one in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != count or count < 1 or not all(type(edge) is int and edge > 0 for one in found for edge in one):
        each = "an integer above 0" + (f" or {axes} of them" if axes > 1 else "")
        raise InputError(
            f"{key}: expected {each}{f' for each of {count} stages' if count > 1 else ''}, found {values!r}"
        )
    return found


def check_counts(key: str, values: Sequence[int], count: int) -> list[int]:
    """Return one integer above 0 for each stage; same arguments and errors as `check_stages`."""
    return [value for (value,) in check_stages(key, values, count)]
