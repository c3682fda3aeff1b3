"""Components and references of MONAI bundle configurations, and their JSON formatting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 120  # line length of the written files

#: a configuration or a part of it
Config = dict[str, Any]


def component(target: str, *names: str, **arguments: Any) -> Config:
    """Return the configuration of an object: its target and its arguments.

    Targets in `tools` require ``@code``, which adds the bundle's code to ``sys.path``, see `common.header`.

    Args:
        target: dotted path, or name of a class of MONAI.
        names: arguments whose value is a reference to the configuration key of the same name.
        arguments: further arguments.
    """
    code = {"_requires_": "@code"} if target.startswith("tools.") else {}
    return {"_target_": target, **code, **{name: f"@{name}" for name in names}, **arguments}


def references(*names: str) -> Config:
    """Return a reference to the configuration key of each name."""
    return {name: f"@{name}" for name in names}


def to_json(config: Mapping[str, Any]) -> str:
    """Format a configuration as JSON, with lists and dictionaries on one line if they fit.

    The text is ASCII, since MONAI reads it in the encoding of the locale.
    """
    return _lay_out(config, 0, 0) + "\n"


def _lay_out(value: Any, indent: int, used: int) -> str:
    """Format a value at an indentation whose first line already has `used` characters."""
    short = json.dumps(value)
    container = isinstance(value, (Mapping, list, tuple)) and len(value) > 0
    if not container or (indent > 0 and used + len(short) + 1 <= WIDTH):  # never for the whole file
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
