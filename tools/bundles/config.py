"""Building blocks of MONAI bundle configurations, and the layout of the JSON files they are written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 120  # columns of a line in the written files

#: a configuration, a part of one, or a value in it
Config = dict[str, Any]


def component(target: str, *names: str, **arguments: Any) -> Config:
    """Configuration of one object: its target, and its arguments.

    Targets in `tools` require ``@code``, which puts the bundle's code on the path (see `tools.bundles.common.ROOT`).

    Args:
        target: dotted path, or the name of a class of MONAI.
        names: arguments whose value is the configuration key of the same name.
        arguments: other arguments.
    """
    code = {"_requires_": "@code"} if target.startswith("tools.") else {}
    return {"_target_": target, **code, **{name: f"@{name}" for name in names}, **arguments}


def references(*names: str) -> Config:
    """Map each name to the configuration key of that name."""
    return {name: f"@{name}" for name in names}


def to_json(config: Mapping[str, Any]) -> str:
    """JSON text of a configuration: a list or dictionary that fits on a line is written on one.

    It is ASCII, since MONAI reads it in the encoding of the locale.
    """
    return _lay_out(config, 0, 0) + "\n"


def _lay_out(value: Any, indent: int, used: int) -> str:
    """Text of a value at an indentation, where `used` columns of its first line are taken."""
    short = json.dumps(value)
    container = isinstance(value, (Mapping, list, tuple)) and len(value) > 0
    if not container or (indent > 0 and used + len(short) + 1 <= WIDTH):  # the file's own dictionary is never short
        return short
    pad = " " * (indent + 4)
    if isinstance(value, Mapping):
        heads = [f"{pad}{json.dumps(key)}: " for key in value]
        lines = [head + _lay_out(one, indent + 4, len(head)) for head, one in zip(heads, value.values(), strict=True)]
        opening, closing = "{", "}"
    else:
        lines = [pad + _lay_out(one, indent + 4, len(pad)) for one in value]
        opening, closing = "[", "]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{' ' * indent}{closing}"
