"""Where prepared cases are kept: in memory, in files that are mapped, or on the device at half the size."""

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
FACTS = ("hashes", "label_hashes", "outside_window")  # of a sample, which are no part of a batch


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor | str | int | float) or (
        isinstance(value, list) and all(isinstance(one, torch.Tensor | str) for one in value)
    )


_SAMPLE = Rule(
    "an image with channels, and tensors, texts and numbers",
    lambda v: isinstance(v, dict) and all(map(_is_plain, v.values())) and is_image(v.get("image")),
)
#: what a file of the disk cache holds
PREPARED = {"sample": _SAMPLE, "facts": Rule("facts of a case", lambda v: isinstance(v, dict) and {*v} <= {*FACTS})}


class InMemory:
    """Prepare a case; what is kept of it is the sample itself.

    Args:
        transform: a deterministic transform of one case.
        earlier: where an earlier run may have left cases.
    """

    def __init__(self, transform: Transform, earlier: OnDisk | None = None) -> None:
        self.transform = transform
        self.earlier = earlier

    def __call__(self, case: dict[str, Any]) -> tuple[Any, Facts]:
        """What is kept of a case, and its facts."""
        sample, facts = self.prepare(case)
        return self.keep(case, sample, facts), facts

    def prepare(self, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
        """Sample of a case, free of MONAI and of memory it does not own, and its facts, see `read_case`."""
        found = None if self.earlier is None else self.earlier.find(case, mapped=False)
        if found is not None:
            return found["sample"], found["facts"]
        sample, facts = read_case(self.transform, case)
        return detach_storage(sample), facts

    def keep(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Any:
        """What is kept of a sample that `prepare` gave."""
        return sample


class OnDisk(InMemory):
    """Prepare a case, or find it prepared; what is kept of it is the path of its file.

    Args:
        transform: a deterministic transform of one case.
        folder: where the files lie.
    """

    def __init__(self, transform: Transform, folder: Path) -> None:
        super().__init__(transform)
        self.folder = folder
        self.configuration = fingerprint(transform)
        self._paths: dict[str, Path] = {}

    def __call__(self, case: dict[str, Any]) -> tuple[Path, Facts]:
        """Path and facts of a case, prepared unless it is there."""
        found = self.find(case)
        return super().__call__(case) if found is None else (self.path(case), found["facts"])

    def path(self, case: dict[str, Any]) -> Path:
        """Where a case is kept: another file whenever the case, a file of it, or the transform is another.

        Settled when first asked for: a file that changes while it is prepared must not pass for the changed one.
        """
        content = repr(sorted(case.items()))
        if content not in self._paths:
            key = repr((self.configuration, content, list(file_states(case))))
            self._paths[content] = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"
        return self._paths[content]

    def find(self, case: dict[str, Any], mapped: bool = True) -> dict[str, Any] | None:
        """What the file of a case holds, "sample" and "facts"; None without one that is a prepared case."""
        path = self.path(case)
        if not path.exists():
            return None
        name = f"cache_dir {self.folder}: {path.name}"
        try:
            content = load_tensors(path, name, "a prepared case", mapped=mapped)
            check_fields(name, content, PREPARED)
        except ResourceError:
            raise
        except InputError as error:  # cut short by a crash, or something else
            print(f"note: {error}; it is prepared again")
            return None
        return content

    def keep(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Path:
        """Write a case's file atomically.

        Raises:
            WriteError: it cannot be written.
            ResourceError: the same, without a reason of the system.
        """
        path = self.path(case)
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                torch.save({"sample": sample, "facts": facts}, stream)
        except WriteError:
            raise
        except Exception as error:
            raise ResourceError(f"cache_dir {self.folder}: {self._why_not_written(error, sample)}") from error
        return path

    def _why_not_written(self, error: Exception, sample: dict[str, Any]) -> str:
        """Reason of a failed write; torch reports a full disk without its error number."""
        size = sum(value.nbytes for value in sample.values() if isinstance(value, torch.Tensor))
        if isinstance(error, RuntimeError) and shutil.disk_usage(self.folder).free <= size:
            return DISK
        reason = find_shortage(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return f"expected a folder that can be written to, found {reason}"


class Compact(NamedTuple):
    """A sample on a device.

    Attributes:
        sample: its images as `to_smallest_dtype` makes them; vectors, texts and numbers as they were, on the host.
        kinds: for each image, the type it had.
    """

    sample: dict[str, Any]
    kinds: dict[str, torch.dtype]

    def restore(self, sample: Any) -> Any:
        """Give the images of a sample cut from this one, or of a list of such, the type they had."""
        if isinstance(sample, list):
            return [self.restore(one) for one in sample]
        return sample | {key: sample[key].to(kind) for key, kind in self.kinds.items() if key in sample}


class OnDevice(InMemory):
    """Prepare a case; what is kept of it lies on a device.

    Args:
        transform: a deterministic transform of one case.
        device: where images are kept; without an index the current one, which is chosen here for all threads: each
            has its own, the first at its start.
        earlier: where an earlier run may have left cases.
    """

    def __init__(self, transform: Transform, device: torch.device, earlier: OnDisk | None = None) -> None:
        super().__init__(transform, earlier)
        current = device.type == "cuda" and device.index is None
        self.device = torch.device("cuda", torch.cuda.current_device()) if current else device

    def keep(self, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Compact:
        """Move a sample's images."""
        images = {key: value for key, value in sample.items() if is_image(value)}
        moved = {key: to_smallest_dtype(value).to(self.device) for key, value in images.items()}
        return Compact(sample | moved, {key: value.dtype for key, value in images.items()})


def read_case(transform: Transform, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
    """Sample that a transform makes of a case, free of MONAI, and its `FACTS`; the tensors may be views."""
    sample = dict(transform(dict(case)))
    facts = {key: sample.pop(key) for key in FACTS if key in sample}
    return {key: _plain(key, value) for key, value in sample.items() if value is not None}, facts


def detach_storage(value: Any) -> Any:
    """A sample, or part of one, or a list of such, whose tensors are contiguous and alone in their memory."""
    if isinstance(value, dict):
        return {key: detach_storage(one) for key, one in value.items()}
    if isinstance(value, list):
        return [detach_storage(one) for one in value]
    if not isinstance(value, torch.Tensor):
        return value
    value = value.contiguous()
    return value.clone() if value.untyped_storage().nbytes() > value.numel() * value.element_size() else value


def is_image(value: Any) -> bool:
    """Whether a value of a sample has channels and space; boxes, types and the like are small, and exact."""
    return isinstance(value, torch.Tensor) and value.ndim > 2


def to_smallest_dtype(image: torch.Tensor) -> torch.Tensor:
    """Half precision of floating values, unless some are beyond its range; whole numbers in their smallest type.

    Anything else, and what has no voxels, stays as it is.
    """
    if image.is_floating_point():
        half = image.half()
        return half if half.isfinite().all() else image
    if image.dtype in (torch.bool, torch.uint8) or image.is_complex() or not image.numel():
        return image
    unsigned = image.dtype in (torch.uint16, torch.uint32, torch.uint64)  # torch does not compare them
    low, high = (int(value) for value in (image.long() if unsigned else image).aminmax())
    kinds = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return image.to(next(kind for kind in kinds if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max))


def _plain(key: str, value: Any) -> Any:
    """A value free of MONAI."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        return (value.as_tensor() if isinstance(value, MetaTensor) else value).detach()
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(one, str | torch.Tensor | np.ndarray) for one in value):
        return [_plain(key, one) for one in value]
    raise TypeError(f"sample key {key}: expected a tensor, text, number or list of such, found {type(value).__name__}")


def file_states(case: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file a case names, the slices of DICOM series and detached voxel files included."""
    values = [one for value in case.values() for one in (value if isinstance(value, list) else [value])]
    for path in (Path(value) for value in values if isinstance(value, str) and os.path.isabs(value)):
        for file in source_files(path):
            with contextlib.suppress(OSError):  # a missing file is reported when it is read
                state = file.stat()
                yield str(file), state.st_size, state.st_mtime_ns
