"""Back ends of the cache: memory, memory-mapped files, and the device in half precision."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor

from tools.data.cache.fingerprint import fingerprint
from tools.data.formats.volumes import source_files
from tools.utils.errors import InputError, WriteError
from tools.utils.files import atomic_write
from tools.utils.inputs import Rule, check_fields
from tools.utils.resources import DISK, ResourceError, find_shortage
from tools.utils.tensor_files import load_tensors

Transform = Callable[[dict[str, Any]], dict[str, Any]]
Facts = dict[str, Any]
#: keys of a sample that describe the case and are not part of a batch
FACTS = ("hashes", "label_hashes", "outside_window")


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor | str | int | float) or (
        isinstance(value, list) and all(isinstance(one, torch.Tensor | str) for one in value)
    )


_SAMPLE = Rule(
    "an image with channels, and tensors, texts and numbers",
    lambda v: isinstance(v, dict) and all(map(_is_plain, v.values())) and is_image(v.get("image")),
)
#: content of a file of the disk cache
PREPROCESSED = {"sample": _SAMPLE, "facts": Rule("facts of a case", lambda v: isinstance(v, dict) and {*v} <= {*FACTS})}


class InMemory:
    """Back end that stores samples in memory.

    Args:
        transform: deterministic transform of one case.
        earlier: disk cache of an earlier run, from which existing cases are read.
    """

    def __init__(self, transform: Transform, earlier: OnDisk | None = None) -> None:
        self.transform = transform
        self.earlier = earlier

    def __call__(self, case: dict[str, Any]) -> tuple[Any, Facts]:
        """Preprocess and store a case; return the stored object and the facts."""
        sample, facts = self.prepare(case)
        return self.store(case, sample, facts), facts

    def prepare(self, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
        """Return the sample of a case, with plain contiguous tensors, and its facts; see `read_case`."""
        found = None if self.earlier is None else self.earlier.find(case, mapped=False)
        if found is not None:
            return found["sample"], found["facts"]
        sample, facts = read_case(self.transform, case)
        return detach_storage(sample), facts

    def store(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Any:
        """Store a sample of `prepare`; return the stored object."""
        return sample


class OnDisk(InMemory):
    """Back end that stores samples in files and reuses existing ones.

    Args:
        transform: deterministic transform of one case.
        folder: folder of the files.
    """

    def __init__(self, transform: Transform, folder: Path) -> None:
        super().__init__(transform)
        self.folder = folder
        self.configuration = fingerprint(transform)
        self._paths: dict[str, Path] = {}

    def __call__(self, case: dict[str, Any]) -> tuple[Path, Facts]:
        """Return the path and facts of a case, which is preprocessed if the file does not exist."""
        found = self.find(case)
        return super().__call__(case) if found is None else (self.path(case), found["facts"])

    def path(self, case: dict[str, Any]) -> Path:
        """Return the file of a case, which depends on the case, its files and the transform.

        The path is fixed at the first call, so that a file that changes during preprocessing is not stored as the new
        version.
        """
        content = repr(sorted(case.items()))
        if content not in self._paths:
            key = repr((self.configuration, content, list(file_states(case))))
            self._paths[content] = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"
        return self._paths[content]

    def find(self, case: dict[str, Any], mapped: bool = True) -> dict[str, Any] | None:
        """Return "sample" and "facts" of a case; None if there is no valid file."""
        path = self.path(case)
        if not path.exists():
            return None
        name = f"cache_dir {self.folder}: {path.name}"
        try:
            content = load_tensors(path, name, "a preprocessed case", mapped=mapped)
            check_fields(name, content, PREPROCESSED)
        except ResourceError:
            raise
        except InputError as error:  # truncated or another file
            print(f"note: {error}; it is preprocessed again")
            return None
        return content

    def store(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Path:
        """Write the file of a case atomically.

        Raises:
            WriteError: if the file cannot be written.
            ResourceError: if writing fails without an error of the operating system.
        """
        path = self.path(case)
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                torch.save({"sample": sample, "facts": facts}, stream)
        except WriteError:
            raise
        except Exception as error:
            raise ResourceError(f"cache_dir {self.folder}: {self._write_failure(error, sample)}") from error
        return path

    def _write_failure(self, error: Exception, sample: dict[str, Any]) -> str:
        """Return the reason of a failed write, since torch reports a full disk without the error number."""
        size = sum(value.nbytes for value in sample.values() if isinstance(value, torch.Tensor))
        if isinstance(error, RuntimeError) and shutil.disk_usage(self.folder).free <= size:
            return DISK
        reason = find_shortage(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return f"expected a writable folder, found {reason}"


class CompactSample(NamedTuple):
    """Sample on a device.

    Attributes:
        sample: images in their smallest type, see `to_smallest_dtype`; other values are unchanged and on the host.
        dtypes: original type of each image.
    """

    sample: dict[str, Any]
    dtypes: dict[str, torch.dtype]

    def restore(self, sample: Any) -> Any:
        """Convert the images of a crop of this sample, or of a list of crops, to their original type."""
        if isinstance(sample, list):
            return [self.restore(one) for one in sample]
        return sample | {key: sample[key].to(kind) for key, kind in self.dtypes.items() if key in sample}


class OnDevice(InMemory):
    """Back end that stores images on a device.

    Args:
        transform: deterministic transform of one case.
        device: device of the images. "cuda" without index becomes the current device of the calling thread, since new
            threads have device 0 as their current device.
        earlier: disk cache of an earlier run, from which existing cases are read.
    """

    def __init__(self, transform: Transform, device: torch.device, earlier: OnDisk | None = None) -> None:
        super().__init__(transform, earlier)
        current = device.type == "cuda" and device.index is None
        self.device = torch.device("cuda", torch.cuda.current_device()) if current else device

    def store(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> CompactSample:
        """Move the images of a sample to the device."""
        images = {key: value for key, value in sample.items() if is_image(value)}
        moved = {key: to_smallest_dtype(value).to(self.device) for key, value in images.items()}
        return CompactSample(sample | moved, {key: value.dtype for key, value in images.items()})


def read_case(transform: Transform, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
    """Return the transformed sample with plain tensors, which may be views, and its `FACTS`."""
    sample = dict(transform(dict(case)))
    facts = {key: sample.pop(key) for key in FACTS if key in sample}
    return {key: _plain(key, value) for key, value in sample.items() if value is not None}, facts


def detach_storage(value: Any) -> Any:
    """Make all tensors of nested dictionaries and lists contiguous and independent of larger storage."""
    if isinstance(value, dict):
        return {key: detach_storage(one) for key, one in value.items()}
    if isinstance(value, list):
        return [detach_storage(one) for one in value]
    if not isinstance(value, torch.Tensor):
        return value
    value = value.contiguous()
    return value.clone() if value.untyped_storage().nbytes() > value.numel() * value.element_size() else value


def is_image(value: Any) -> bool:
    """Return whether a value of a sample is an image, unlike boxes and types, which are stored exactly."""
    return isinstance(value, torch.Tensor) and value.ndim > 2


def to_smallest_dtype(image: torch.Tensor) -> torch.Tensor:
    """Convert floats to half precision, unless they overflow, and integers to the smallest sufficient type.

    Other types and empty tensors are unchanged.
    """
    if image.is_floating_point():
        half = image.half()
        return half if half.isfinite().all() else image
    if image.dtype in (torch.bool, torch.uint8) or image.is_complex() or not image.numel():
        return image
    unsigned = image.dtype in (torch.uint16, torch.uint32, torch.uint64)  # torch does not support aminmax for them
    low, high = (int(value) for value in (image.long() if unsigned else image).aminmax())
    kinds = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return image.to(next(kind for kind in kinds if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max))


def _plain(key: str, value: Any) -> Any:
    """Convert a value to plain tensors, strings and numbers."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        return (value.as_tensor() if isinstance(value, MetaTensor) else value).detach()
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(one, str | torch.Tensor | np.ndarray) for one in value):
        return [_plain(key, one) for one in value]
    raise TypeError(
        f"sample key {key}: expected a tensor, string, number or list of these, found {type(value).__name__}"
    )


def file_states(case: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of all files of a case, including DICOM slices and detached data files."""
    values = [one for value in case.values() for one in (value if isinstance(value, list) else [value])]
    for path in (Path(value) for value in values if isinstance(value, str) and os.path.isabs(value)):
        for file in source_files(path):
            with contextlib.suppress(OSError):  # a missing file is reported when it is read
                state = file.stat()
                yield str(file), state.st_size, state.st_mtime_ns
