"""Safe reading of PyTorch files: tensors and plain values only, no unpickling of other objects."""

from __future__ import annotations

import errno
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.utils.errors import InputError, one_line
from tools.utils.tensor_files import check_tensors, stored_size

#: numbers that nnU-Net's training log consists of, under the names of all NumPy versions
_SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALARS = [
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
#: keys under which training frameworks store the state dict of a network
CONTAINERS = ("network_weights", "state_dict", "model_state_dict", "net", "model")


@dataclass(frozen=True)
class Checkpoint:
    """Content of a weights file.

    Attributes:
        path: path of the file.
        content: everything in the file.
        container: key of the state dict in `content`; empty if `content` is the state dict.
        weights: the state dict.
    """

    path: Path
    content: Mapping[str, Any]
    container: str
    weights: Mapping[str, torch.Tensor]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file and find the state dict in it. The tensors are mapped from the file, not copied.

    Raises:
        InputError: if the file is missing, damaged, contains other objects than tensors and plain values, or no state
            dict with finite weights.
    """
    path = Path(path)
    content = _load(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a state dict, found a {type(content).__name__}")
    if {"network", "optimizer"} <= content.keys():
        raise InputError(
            f"{path}: expected an encoder, found a training checkpoint; pass the run's {path.with_name('model.pt')}"
        )
    container = next((key for key in CONTAINERS if _is_state_dict(content.get(key))), "")
    weights = content[container] if container else content
    if not _is_state_dict(weights):
        found = ", ".join(map(str, list(weights)[:5])) or "nothing in it"
        raise InputError(f"{path}: expected a state dict, or one under {', '.join(CONTAINERS)}; found {found}")
    once = {value.data_ptr(): key for key, value in weights.items()}  # nnU-Net's networks name many tensors twice
    bad = [key for key in once.values() if not _is_finite(weights[key])]
    if bad:
        raise InputError(
            f"{path}: expected finite weights, found NaN or infinity in {len(bad)} tensors, first {bad[0]}"
        )
    return Checkpoint(path, content, container, dict(weights))


def _load(path: Path) -> Any:
    try:
        stored = stored_size(path)
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        check_tensors(content, path, "an encoder's weights (model.pt)", stored)
        return content
    except InputError:
        raise
    except Exception as error:  # torch raises various errors for damaged files
        raise InputError(f"{path}: expected an encoder's weights (model.pt), found {_describe(error)}") from error


def _describe(error: Exception) -> str:
    """Describe why torch does not load a file, without its advice to unpickle it anyway."""
    found = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
    if found is not None:
        return (
            f"an object of {found[1]} in it; unpickling it can run any code, so the file is refused. If you trust its "
            "source, save the tensors alone: torch.save(torch.load(file, weights_only=False)['state_dict'], new_file)"
        )
    if "TorchScript" in str(error):
        return "a TorchScript archive; save its tensors: torch.save(torch.jit.load(file).state_dict(), new_file)"
    truncated = "central directory" in str(error) or (isinstance(error, OSError) and error.errno == errno.EINVAL)
    if truncated or isinstance(error, pickle.UnpicklingError | EOFError):
        return "a file that torch.save did not write, or a part of one"
    if isinstance(error, OSError):
        return error.strerror or one_line(error)
    return f"a file that torch cannot read ({one_line(error)})"


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())
    )


def _is_finite(value: torch.Tensor) -> bool:
    """Return whether all values are finite; values are only checked if their sum, which is faster, is not finite."""
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())
