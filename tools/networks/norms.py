"""Norm layers by name, as MONAI's (name, arguments)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.layers.factories import Norm, split_args

from tools.utils.errors import InputError, check_choice

#: MONAI's (name, arguments) by name
NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("group", {"num_groups": 8}),
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
}
#: name of the default norm of an encoder
AUTO = "auto"


def parse_norm(norm: str | Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return a key of `NORMS`, or MONAI's (name, arguments), copied because SegResNetDS modifies it.

    Raises:
        InputError: if the name is unknown, or the value is not a pair of name and arguments.
    """
    if isinstance(norm, str):
        norm = NORMS[check_choice(norm, NORMS, "norm")]
    if len(norm) != 2 or not isinstance(norm[0], str) or not isinstance(norm[1], dict):
        raise InputError(f"norm: expected one of {', '.join([AUTO, *NORMS])} or [name, {{arguments}}], found {norm!r}")
    return check_choice(norm[0].lower(), [name.lower() for name in Norm.names], "norm"), dict(norm[1])


def is_instance(norm: str | tuple[str, dict[str, Any]]) -> bool:
    """Check whether a norm is an instance norm, which needs more than one voxel per map."""
    return split_args(norm)[0].lower().startswith("instance")


def fit_norm(norm: tuple[str, dict[str, Any]], channels: int) -> tuple[str, dict[str, Any]]:
    """Reduce the groups of a group norm to a divisor of `channels`, with at least two channels per group."""
    name, arguments = norm
    groups = arguments.get("num_groups", 1)
    if channels % groups == 0:
        return norm
    return name, {**arguments, "num_groups": 1 if channels % 2 else math.gcd(groups, channels // 2)}
