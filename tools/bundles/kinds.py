"""Value constraints of configuration keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """Constraint on the value of a key.

    Attributes:
        expected: description for messages.
        contains: function that returns whether a value satisfies the constraint.
        verbatim: whether the value must equal the text on the command line, as for paths and names.
        per_axis: whether the value is a list with one entry per axis, of the same length as the bundle's default.
    """

    expected: str
    contains: Callable[[Any], bool]
    verbatim: bool = False
    per_axis: bool = False


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, excluding True and False."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: Any, minimum: float = -math.inf) -> bool:
    """Return whether a value is an integer of at least `minimum`, excluding 2.0 and True."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _all(value: Any, contains: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(contains, value))


def integer(minimum: int) -> Kind:
    """Return a kind of integers of at least `minimum`."""
    return Kind(f"an integer of at least {minimum}", lambda v: is_integer(v, minimum))


def at_least(minimum: float) -> Kind:
    """Return a kind of numbers of at least `minimum`."""
    return Kind(f"a number of at least {minimum}", lambda v: is_number(v) and v >= minimum)


def optional(kind: Kind) -> Kind:
    """Return a kind of values of another kind, or None."""
    return Kind(f"{kind.expected}, or None", lambda v: v is None or kind.contains(v), kind.verbatim, kind.per_axis)


def list_of(kind: Kind, description: str) -> Kind:
    """Return a kind of non-empty lists of values of a kind, with a description of the values."""
    return Kind(f"a list of {description}", lambda v: _all(v, kind.contains))


def choice(*options: str) -> Kind:
    """Return a kind of one of several strings."""
    return Kind(f"one of {', '.join(options)}", lambda v: v in options, verbatim=True)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


ANY = Kind("a value", lambda v: True)
NUMBER = Kind("a number", is_number)
LIST = Kind("a list", lambda v: isinstance(v, (list, tuple)))
BOOLEAN = Kind("True or False", lambda v: isinstance(v, bool))
POSITIVE = Kind("a number above 0", lambda v: is_number(v) and v > 0)
SPACING = Kind(
    "a number above 0, or a list of three such numbers",
    lambda v: POSITIVE.contains(v) or (_all(v, POSITIVE.contains) and len(v) == 3),
)
BELOW_1 = Kind("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1)
UP_TO_1 = Kind("a number above 0, up to 1", lambda v: is_number(v) and 0 < v <= 1)
BETWEEN_0_AND_1 = Kind("a number between 0 and 1, both excluded", lambda v: is_number(v) and 0 < v < 1)
PROBABILITY = Kind("a number from 0 to 1", lambda v: is_number(v) and 0 <= v <= 1)
INTEGER = Kind("an integer", is_integer)
PATH = Kind("a path", lambda v: _is_text(v) and not v.startswith("~"), verbatim=True)
NAME = Kind("a name", _is_text, verbatim=True)
SIZE = Kind("integers of at least 1", lambda v: _all(v, lambda one: is_integer(one, 1)), per_axis=True)
SIZE_OR_EDGE = Kind(
    "an integer of at least 1, or a list of them", lambda v: is_integer(v, 1) or _all(v, lambda one: is_integer(one, 1))
)
RANGE = Kind("a list of two increasing numbers", lambda v: _all(v, is_number) and len(v) == 2 and v[0] < v[1])
AXIS = Kind("0, 1 or 2", lambda v: is_integer(v) and v in (0, 1, 2))
AXES = Kind("a list of axes among 0, 1 and 2", lambda v: isinstance(v, (list, tuple)) and all(map(AXIS.contains, v)))
WIDTHS = Kind(
    "a list of integers of at least 1",
    lambda v: isinstance(v, (list, tuple)) and all(is_integer(one, 1) for one in v),
)
WIDTH_OR_WIDTHS = Kind("an integer of at least 1, or a list of them", lambda v: is_integer(v, 1) or WIDTHS.contains(v))
DICTIONARY = Kind("a dictionary", lambda v: isinstance(v, Mapping))
PATTERNS = Kind(
    "a dictionary of strings to strings",
    lambda v: isinstance(v, Mapping) and all(isinstance(text, str) for pair in v.items() for text in pair),
)
NAMES = Kind("a list of names", lambda v: isinstance(v, (list, tuple)) and all(map(_is_text, v)))
SETTINGS = Kind("a dictionary of keys to values", lambda v: isinstance(v, Mapping) and all(map(_is_text, v)))
SETTINGS_OF_EACH = Kind(
    "a dictionary of names to dictionaries",
    lambda v: SETTINGS.contains(v) and all(map(SETTINGS.contains, v.values())),
)
DEVICE = Kind("a device such as cpu or cuda:0", _is_text, verbatim=True)


def _is_name_or_pair(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, (list, tuple)) and len(value) > 0 and _is_text(value[0]))


ENCODER = Kind("a name, or a list of a name and its arguments", _is_name_or_pair)
NORM = Kind("auto, group, batch or instance, or a list of a MONAI norm and its arguments", _is_name_or_pair)
