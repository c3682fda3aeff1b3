"""Safe reading of files of `torch.save`: no code is executed, and tensors are validated."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tools.utils.errors import InputError, one_line
from tools.utils.resources import raise_shortage


def load_tensors(
    source: Path | BinaryIO,
    name: str | Path,
    expected: str,
    device: torch.device | str = "cpu",
    mapped: bool = False,
) -> Any:
    """Load nested dictionaries and lists of tensors, numbers and texts.

    Args:
        source: file or open file.
        name: its name for messages.
        expected: what it should be, for messages.
        device: where the tensors are put.
        mapped: whether the tensors are mapped from the file, so that only what is used is read.

    Raises:
        InputError: if torch cannot read the file, it is compressed, objects need code, or tensors are not plain:
            without values (meta), sparse, nested, quantised, complex, or larger than their stored data.
        ResourceError: if the memory is full.
    """
    try:
        stored = stored_size(source)
        content = torch.load(source, map_location=device, weights_only=True, mmap=mapped)
        check_tensors(content, name, expected, stored)
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in torch's readers
        raise_shortage(str(name), error)
        raise InputError(f"{name}: expected {expected}, found a file torch cannot read ({one_line(error)})") from error
    return content


def check_tensors(content: Any, name: str | Path, expected: str, stored: int) -> None:
    """Check the tensors in the result of `torch.load`.

    Args:
        content: nested dictionaries and lists.
        name: file name for messages.
        expected: what it should be, for messages.
        stored: bytes of the file.

    Raises:
        InputError: see `load_tensors`.
        RecursionError: nested too deeply.
    """
    tensors = list(_tensors(content, ""))
    for place, tensor in tensors:
        if problem := _problem(tensor):
            raise InputError(f"{name}: expected {expected} with plain tensors, found {problem} in {place or 'it'}")
    storages = [tensor.untyped_storage() for _, tensor in tensors]
    if sum({one.data_ptr(): one.nbytes() for one in storages}.values()) > stored:
        raise InputError(f"{name}: expected {expected}, found tensors larger than the file; it is damaged")


def stored_size(source: Path | BinaryIO) -> int:
    """Return the size of a file in bytes; raise `ValueError` for TorchScript, or entries larger than the file."""
    if isinstance(source, Path):
        size = source.stat().st_size
    else:
        size = source.seek(0, 2)
        source.seek(0)
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
        if any(one.filename.endswith("/constants.pkl") for one in entries):
            raise ValueError("a TorchScript archive, which holds code")
        if any(one.compress_type != zipfile.ZIP_STORED for one in entries) or sum(e.file_size for e in entries) > size:
            raise ValueError("a compressed archive, which torch does not write")
    if not isinstance(source, Path):
        source.seek(0)
    return size


def _tensors(content: Any, place: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield place, content
    elif isinstance(content, dict | list | tuple):
        for key, one in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _tensors(one, f"{place}.{key}" if place else str(key))


def _problem(tensor: torch.Tensor) -> str | None:
    """Return the property that makes a tensor unusable, or None."""
    kinds = {
        "no values (meta)": tensor.is_meta,
        "a nested tensor": tensor.is_nested,
        "a sparse tensor": tensor.layout is not torch.strided,
        "a quantised tensor": tensor.is_quantized,
        "complex numbers": tensor.is_complex(),
    }
    found = next((kind for kind, holds in kinds.items() if holds), None)
    if found is None and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "fewer values than its size"
    return found
