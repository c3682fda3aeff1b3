"""Errors for invalid input, and the search for them in a chain of causes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

import torch.distributed as dist


class InputError(ValueError):
    """Error of invalid input; the message names the file or key, what was expected and what was found.

    MONAI wraps exceptions while it instantiates a configuration; `tools.utils.excepthook` prints the original one.
    """


class WriteError(InputError):
    """Error of an output file or folder that cannot be written or was removed."""


def check_choice(word: str, words: Iterable[str], key: str) -> str:
    """Return `word` if it is among `words`.

    Raises:
        InputError: otherwise, with the key, the choices and the closest match.
    """
    words = list(words)
    if word in words:
        return word
    near = difflib.get_close_matches(str(word), words, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"{key}: expected one of {', '.join(words)}, found {word!r}{hint}")


#: control sequences that colour a terminal (ECMA-48)
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])")


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line, without terminal escape codes; its type if the message is empty."""
    return " ".join(_ESCAPES.sub("", str(error)).split()) or type(error).__name__


def escape(text: str) -> str:
    """Return a text with line breaks, control characters and undecodable bytes, as in file names, escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def find_error(error: BaseException | None, wanted: Callable[[BaseException], bool]) -> BaseException | None:
    """Return the first error that satisfies `wanted` in the chain of causes of `error`, or None.

    The chain is the same as in Python's tracebacks and respects ``raise … from``.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if wanted(error):
            return error
        seen.add(id(error))
        handled = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ if error.__cause__ is not None else handled
    return None


def find_input_error(error: BaseException | None) -> InputError | None:
    """Return the first `InputError` in the chain of causes of `error`, or None; see `find_error`."""
    return find_error(error, lambda one: isinstance(one, InputError))


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error comes from the communication between processes; gloo raises `RuntimeError`."""
    if not dist.is_available():
        return False
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))
