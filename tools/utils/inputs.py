"""Checks of input files before a library opens them, and JSON files read with a check of their fields."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.utils.errors import InputError, one_line

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_readable(path: str | Path, expected: str) -> None:
    """Raise for a path that is not a readable regular file; opening a pipe would block.

    Args:
        path: file to read.
        expected: what it should be, for the message.

    Raises:
        InputError: if it is a broken link, pipe, socket, device or folder, is missing, or cannot be opened.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFREG:
            open(path, "rb").close()
            return
        found = KINDS.get(kind, "a special file")
    except OSError as error:
        broken = os.path.islink(path) and not os.path.exists(path)
        found = f"a broken link to {os.readlink(path)}" if broken else error.strerror or str(error)
    raise InputError(f"{path}: expected a readable {expected}, found {found}")


def unreadable_error(name: str, expected: str, error: Exception) -> InputError:
    """Build the error of a file that a library could not read, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{name}: expected a readable {expected}, found {type(error).__name__}: {reason}")


@dataclass(frozen=True)
class Rule:
    """Valid values of a field.

    Attributes:
        expected: description for messages.
        contains: whether a value is among them.
    """

    expected: str
    contains: Callable[[Any], bool]


def list_of(rule: Rule, length: int | None = None) -> Rule:
    """Return a rule of lists of values of a rule, of any length or of a given one."""
    expected = f"a list of {rule.expected}" if length is None else f"a list of {length} times {rule.expected}"
    return Rule(
        expected,
        lambda value: (
            isinstance(value, list) and length in (None, len(value)) and all(rule.contains(one) for one in value)
        ),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


ANYTHING = Rule("a value", lambda value: True)
TEXT = Rule("text", lambda value: isinstance(value, str))
NUMBER = Rule("a finite number", _is_number)
POSITIVE = Rule("a number above 0", lambda value: _is_number(value) and value > 0)
INTEGER = Rule("an integer", lambda value: type(value) is int)
COUNT = Rule("an integer of at least 0", lambda value: type(value) is int and value >= 0)
DICTIONARY = Rule("a dictionary", lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value))

#: a rule, a dictionary of fields (``name?`` may be missing), a list with the schema of its items, or a tuple with the
#: schema of a value that may be null
Schema = Rule | Mapping[str, Any] | list[Any] | tuple[Any]


def check_fields(name: str | Path, content: Any, schema: Schema, place: str = "") -> None:
    """Compare a value that was read from a file with a schema; fields outside the schema are ignored.

    The depth of the recursion depends on the schema, not on the file.

    Args:
        name: file name for messages.
        content: value.
        schema: what it should be.
        place: path to the value in the file, such as ``selected.epoch``.

    Raises:
        InputError: with the file, the first field that does not fit, what was expected and what was found.
    """
    where = f"{name}: {place}" if place else str(name)
    if isinstance(schema, Rule):
        if not schema.contains(content):
            raise InputError(f"{where}: expected {schema.expected}, found {_short(content)}")
    elif isinstance(schema, tuple):
        if content is not None:
            check_fields(name, content, schema[0], place)
    elif isinstance(schema, list):
        if not isinstance(content, list):
            raise InputError(f"{where}: expected a list, found {_short(content)}")
        for index, one in enumerate(content):
            check_fields(name, one, schema[0], f"{place}[{index}]")
    else:
        if not isinstance(content, dict):
            raise InputError(f"{where}: expected a dictionary, found {_short(content)}")
        for key, inner in schema.items():
            field = key.removesuffix("?")
            if field in content:
                check_fields(name, content[field], inner, f"{place}.{field}" if place else field)
            elif field == key:
                raise InputError(f"{where}: expected the field {field}, found none")


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {'dictionary' if isinstance(value, dict) else 'list'} of {len(value)}"
    return repr(value)[:60]


def read_json(path: str | Path, schema: Schema = ANYTHING, expected: str = "JSON file") -> Any:
    """Read a JSON file and check its fields.

    Args:
        path: file, in UTF-8 or with a byte-order mark.
        schema: see `check_fields`.
        expected: what the file should be, for messages.

    Raises:
        InputError: if it is not a regular file or not JSON, is nested too deeply, or has invalid fields.
    """
    check_readable(path, expected)
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a {expected}, found {one_line(error)[:200]}") from error
    check_fields(path, content, schema)
    return content
