"""Back end of the cache in files, with an index."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tools.data.cache.fingerprint import fingerprint
from tools.data.cache.index import KEY_LENGTH, CacheIndex
from tools.data.cache.samples import (
    FACTS,
    CompactSample,
    Facts,
    Transform,
    compact,
    detach_storage,
    is_image,
    read_case,
)
from tools.data.formats.volumes import source_files
from tools.utils.errors import InputError, WriteError, check_choice
from tools.utils.files import atomic_write
from tools.utils.inputs import Rule, check_fields
from tools.utils.resources import DISK, ResourceError, find_shortage
from tools.utils.tensor_files import load_tensors


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor | str | int | float) or (
        isinstance(value, list) and all(isinstance(one, torch.Tensor | str) for one in value)
    )


_SAMPLE = Rule(
    "an image with channels, and tensors, texts and numbers",
    lambda v: isinstance(v, dict) and all(map(_is_plain, v.values())) and is_image(v.get("image")),
)
#: content of a file of the disk cache
PREPROCESSED = {
    "sample": _SAMPLE,
    "facts": Rule("facts of a case", lambda v: isinstance(v, dict) and {*v} <= {*FACTS}),
    "dtypes": Rule(
        "types of images", lambda v: isinstance(v, dict) and all(isinstance(one, torch.dtype) for one in v.values())
    ),
}
DTYPES = ("float32", "float16")


class Entry(NamedTuple):
    """Case in the disk cache.

    Attributes:
        file: name of the cache file.
        facts: `FACTS` of the case.
    """

    file: str
    facts: Facts


class OnDisk:
    """Cache files of a folder, with an index.

    The file name is a hash of the case, the sizes and modification times of its files, the transform and `dtype`.

    Args:
        transform: deterministic transform of one case.
        folder: folder of the files.
        dtype: "float32" for the values of the transform, or "float16" for images in half precision.
    """

    def __init__(self, transform: Transform, folder: Path, dtype: str = "float32") -> None:
        check_choice(dtype, DTYPES, "cache_dtype")
        self.transform = transform
        self.folder = folder
        self.dtype = dtype
        self.configuration = fingerprint(transform) + ("" if dtype == "float32" else dtype)
        self._invalid: set[str] = set()  # keys of files that were reported
        self.index = CacheIndex(folder)
        self.index.refresh()

    def __call__(self, case: dict[str, Any]) -> Entry:
        """Return the entry of a case, which is preprocessed if there is no valid file."""
        key = self.key(case)  # before reading, so that a file that changes is not stored as the new version
        entry = self._find(key, case)
        if entry is not None:
            return entry
        sample, facts = read_case(self.transform, case)
        return self.store(key, case, sample, facts)

    def content_key(self, case: dict[str, Any]) -> str:
        """Return a hash of the case and the transform, without the state of the files."""
        return _hash(repr((self.configuration, sorted(case.items()))))

    def key(self, case: dict[str, Any]) -> str:
        """Return the name of the file of a case, without suffix."""
        return _hash(repr((self.content_key(case), list(file_states(case)))))

    def find(self, case: dict[str, Any]) -> Entry | None:
        """Return the entry of a case; None if there is no valid file."""
        return self._find(self.key(case), case)

    def _find(self, key: str, case: dict[str, Any]) -> Entry | None:
        path, record = self.folder / f"{key}.pt", self.index.get(key)
        try:
            state = path.stat()
        except OSError:
            return None
        if record is not None and record.get("file") == [state.st_size, state.st_mtime_ns]:
            return Entry(path.name, record["facts"])
        try:  # it is not in the index, or not as it was written
            content = self.load(path.name, mapped=True)
        except ResourceError:
            raise
        except InputError as error:  # truncated or another file
            if key not in self._invalid:
                print(f"note: {error}; it is preprocessed again")
            self._invalid.add(key)
            return None
        with contextlib.suppress(WriteError):  # a read-only folder
            self._record(key, case, content["facts"])
        return Entry(path.name, content["facts"])

    def load(self, file: str, mapped: bool) -> dict[str, Any]:
        """Return "sample", "facts" and "dtypes" of a file.

        Raises:
            InputError: if there is no file, or it is not the file of a preprocessed case.
        """
        name = f"cache_dir {self.folder}: {file}"
        content = load_tensors(self.folder / file, name, "a preprocessed case", mapped=mapped)
        check_fields(name, content, PREPROCESSED)
        return content

    def store(self, key: str, case: dict[str, Any], sample: dict[str, Any], facts: Facts) -> Entry:
        """Write the file of a case atomically, and its record.

        Raises:
            WriteError: if the file or the index cannot be written.
            ResourceError: if writing fails without an error of the operating system.
        """
        small = compact(sample) if self.dtype == "float16" else CompactSample(sample, {})
        content = {"sample": detach_storage(small.sample), "facts": facts, "dtypes": small.dtypes}
        path = self.folder / f"{key}.pt"
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                torch.save(content, stream)
        except WriteError:
            raise
        except Exception as error:
            raise ResourceError(f"cache_dir {self.folder}: {self._write_failure(error, sample)}") from error
        self._record(key, case, facts)
        return Entry(path.name, facts)

    def record_error(self, case: dict[str, Any], reason: str) -> None:
        """Append the error of a case to the index, unless it is there; the next run tries the case again."""
        key = self.key(case)
        if (self.index.get(key) or {}).get("error") != reason:
            with contextlib.suppress(WriteError):  # a read-only folder
                self._append(key, case, {"error": reason})

    def known_facts(self) -> dict[str, Facts]:
        """Return the facts of the cases in the index by `content_key`, without looking at the files."""
        self.index.refresh()
        return {record["content"]: record["facts"] for record in self.index.records() if "facts" in record}

    def _record(self, key: str, case: dict[str, Any], facts: Facts) -> None:
        state = (self.folder / f"{key}.pt").stat()
        self._append(key, case, {"file": [state.st_size, state.st_mtime_ns], "facts": facts})

    def _append(self, key: str, case: dict[str, Any], found: dict[str, Any]) -> None:
        states = list(file_states(case))
        size, time = sum(size for _, size, _ in states), max((time for *_, time in states), default=0)
        sources = {"files": len(states), "bytes": size, "time": time}
        names = {"case": case["case"], "patient": case.get("patient")}
        self.index.append({"key": key, **names, "sources": sources, "content": self.content_key(case), **found})

    def _write_failure(self, error: Exception, sample: dict[str, Any]) -> str:
        """Return the reason of a failed write, since torch reports a full disk without the error number."""
        size = sum(value.nbytes for value in sample.values() if isinstance(value, torch.Tensor))
        if isinstance(error, RuntimeError) and shutil.disk_usage(self.folder).free <= size:
            return DISK
        reason = find_shortage(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return f"expected a writable folder, found {reason}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:KEY_LENGTH]


def file_states(case: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of all files of a case, including DICOM slices and detached data files."""
    values = [one for value in case.values() for one in (value if isinstance(value, list) else [value])]
    for path in (Path(value) for value in values if isinstance(value, str) and os.path.isabs(value)):
        for file in source_files(path):
            with contextlib.suppress(OSError):  # a missing file is reported when it is read
                state = file.stat()
                yield str(file), state.st_size, state.st_mtime_ns
