"""Norm layers by one word, and the (name, arguments) pairs of MONAI that they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.layers.factories import Norm, split_args

from tools.utils.errors import InputError, check_choice

#: norm layers by one word, as MONAI's (name, arguments)
NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("group", {"num_groups": 8}),
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
}
#: the word for the norm that an encoder's class has as its default
AUTO = "auto"


def parse_norm(norm: str | Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Convert a word of `NORMS`, or MONAI's (name, arguments), to the latter.

    Raises:
        InputError: for an unknown word or name.
    """
    if isinstance(norm, str):
        return NORMS[check_choice(norm, NORMS, "norm")]
    if len(norm) != 2 or not isinstance(norm[0], str) or not isinstance(norm[1], dict):
        raise InputError(f"norm: expected one of {', '.join([AUTO, *NORMS])} or [name, {{arguments}}], found {norm!r}")
    return check_choice(norm[0].lower(), [name.lower() for name in Norm.names], "norm"), dict(norm[1])


def is_instance(norm: str | tuple[str, dict[str, Any]]) -> bool:
    """Whether a norm standardises each channel of each map alone, and so needs more than one voxel per map."""
    return split_args(norm)[0].lower().startswith("instance")


def fit_norm(norm: tuple[str, dict[str, Any]], channels: int) -> tuple[str, dict[str, Any]]:
    """Norm for maps of any width: a group norm whose groups do not divide `channels` has fewer, of two or more each."""
    name, arguments = norm
    groups = arguments.get("num_groups", 1)
    if channels % groups == 0:
        return norm
    return name, {**arguments, "num_groups": 1 if channels % 2 else math.gcd(groups, channels // 2)}
