"""Hash of the configuration of a transform, independent of its random state."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import monai
import numpy as np
import torch

import tools


def fingerprint(transform: Any) -> str:
    """Return a SHA-256 of the classes, functions and values of a transform, and the versions of MONAI and `tools`."""
    parts = (monai.__version__, getattr(tools, "__version__", ""), _describe(transform, ()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _describe(value: Any, above: tuple[int, ...]) -> Any:
    """Return nested lists of strings without memory addresses; generators and locks are described by type only."""
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return sorted([_describe(key, above), _describe(one, above)] for key, one in value.items())
    if isinstance(value, list | tuple):
        return [_describe(one, above) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_describe(one, above)) for one in value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return [value.shape, str(value.dtype), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(one, above) for one in (value.func, value.args, value.keywords))]
    if isinstance(value, types.MethodType):
        return [value.__name__, _describe(value.__self__, above)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [_name(value), *(_describe(one, above) for one in (value.__code__, value.__defaults__, cells))]
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), value.co_names, _describe(value.co_consts, above)]
    if isinstance(value, type):
        return _name(value)
    kind = type(value)
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names or not hasattr(value, "__dict__"):
        text = repr(value)
        return _name(kind) if " at 0x" in text else text
    state = value.__getstate__() if hasattr(value, "__getstate__") else vars(value)  # MONAI removes thread locals
    return [_name(kind), _describe(state, above)]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
