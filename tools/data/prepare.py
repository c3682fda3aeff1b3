"""Deterministic preprocessing, done once per case and kept in memory or on disk."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch.utils.data import Dataset
from tqdm import tqdm

from tools import distributed
from tools.data.fingerprint import fingerprint
from tools.errors import InputError, find_input_error
from tools.files import whole_file

MAX_LINES = 10


class PreparedDataset(Dataset):
    """Cases after a deterministic transform that ran once, at construction.

    Samples are dictionaries of plain tensors, texts and numbers. The disk cache holds one file per case; its name is a
    hash of the case, of the sizes and times of the files it names, and of the transform's configuration, so a changed
    file or setting is computed anew. Files are written whole, so several runs may share a cache. They are mapped, not
    read: a crop costs the pages it touches.

    Args:
        data: cases as `find_cases` gives them.
        transform: a deterministic transform of one case. It may leave "hashes" in the sample, as `HashVoxelsd` does.
        cache: "memory" or "disk".
        cache_dir: folder of the disk cache.
        skip_bad: print and leave out the cases that fail, instead of raising.
        num_workers: threads.
        desc: name of this part of the data, for the progress bar and messages.

    Attributes:
        data: the cases kept.
        hashes: for each case kept ``{"case": id, "hashes": list}``.

    Raises:
        InputError: cases failed (one line each, at most 10), none is left, or the cache's settings are wrong.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        cache: str = "memory",
        cache_dir: str | Path | None = None,
        skip_bad: bool = False,
        num_workers: int = 2,
        desc: str = "training",
    ) -> None:
        if cache not in ("memory", "disk"):
            raise InputError(f"cache: expected 'memory' or 'disk', found {cache!r}")
        if cache == "disk" and cache_dir is None:
            raise InputError("cache_dir: expected a folder for cache 'disk', found none")
        prepare = _OnDisk(transform, Path(cache_dir)) if cache == "disk" else _InMemory(transform)
        data = [case if "case" in case else {**case, "case": str(case["image"])} for case in data]  # MONAI Label's
        good = attempt_cases(data, prepare, f"preparing {desc}", desc, skip_bad, num_workers)
        self.data = [case for case, _ in good]
        self.hashes = [{"case": case["case"], "hashes": hashes} for case, (_, hashes) in good]
        self._samples = [sample for _, (sample, _) in good]

    def __len__(self) -> int:
        """Number of cases kept."""
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample of a case: a new dictionary, with the cached tensors (not to be written to)."""
        sample = self._samples[index]
        return _load(sample)["sample"] if isinstance(sample, Path) else dict(sample)


class _InMemory:
    """Give a case's sample and hashes."""

    def __init__(self, transform: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.transform = transform

    def __call__(self, case: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        sample = dict(self.transform(dict(case)))
        hashes = list(sample.pop("hashes", []))
        return {key: _plain(key, value) for key, value in sample.items() if value is not None}, hashes


class _OnDisk(_InMemory):
    """Give the file of a case's sample, and its hashes."""

    def __init__(self, transform: Callable[[dict[str, Any]], dict[str, Any]], folder: Path) -> None:
        super().__init__(transform)
        self.folder = folder
        self.configuration = fingerprint(transform)

    def __call__(self, case: dict[str, Any]) -> tuple[Path, list[str]]:
        key = repr((self.configuration, sorted(case.items()), list(_file_states(case))))
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"
        try:
            return path, _load(path)["hashes"]
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):  # absent, or cut short by a crash
            sample, hashes = super().__call__(case)
        with whole_file(path) as temporary:
            torch.save({"sample": sample, "hashes": hashes}, temporary)
        return path, hashes


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True, mmap=True)


def _plain(key: str, value: Any) -> Any:
    """A value free of MONAI and of memory it does not own."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        value = value.as_tensor() if isinstance(value, MetaTensor) else value
        value = value.detach().contiguous()
        return value.clone() if value.untyped_storage().nbytes() > value.numel() * value.element_size() else value
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(one, str | torch.Tensor | np.ndarray) for one in value):
        return [_plain(key, one) for one in value]
    raise TypeError(f"sample key {key}: expected a tensor, text, number or list of such, found {type(value).__name__}")


def _file_states(case: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file a case names, the slices of DICOM series and detached voxel files included."""
    values = [one for value in case.values() for one in (value if isinstance(value, list) else [value])]
    for path in (Path(value) for value in values if isinstance(value, str) and os.path.isabs(value)):
        files = [path]
        if path.is_dir() or not path.exists():  # a DICOM series
            files = sorted((path if path.is_dir() else path.parent).iterdir())
        elif path.suffix.lower() in (".nhdr", ".mhd"):
            files = sorted(path.parent.glob(f"{path.stem}.*"))
        for file in files:
            state = file.stat()
            yield str(file), state.st_size, state.st_mtime_ns


def attempt_cases(
    cases: Sequence[dict[str, Any]],
    prepare: Callable[[dict[str, Any]], Any],
    doing: str,
    desc: str,
    skip_bad: bool = False,
    num_workers: int = 2,
) -> list[tuple[dict[str, Any], Any]]:
    """Do something with every case, and name all that fail at once.

    Args:
        cases: as `find_cases` gives them.
        prepare: what is done; called in threads.
        doing: a word for it, for the progress bar.
        desc: name of this part of the data.
        skip_bad: print and leave out the cases that fail, instead of raising.
        num_workers: threads.

    Returns:
        Case and result of those that did not fail.

    Raises:
        InputError: cases failed (one line each, at most 10), or none is left.
    """
    bar = {"total": len(cases), "desc": doing, "unit": "case", "disable": distributed.rank() != 0}
    with ThreadPool(max(1, num_workers)) as pool:
        results = list(tqdm(pool.imap(lambda case: _attempt(prepare, case), cases), **bar))
    bad = {case["case"]: one for case, one in zip(cases, results, strict=True) if isinstance(one, Exception)}
    if bad:
        _report(bad, len(cases), desc, skip_bad)
    good = [(case, one) for case, one in zip(cases, results, strict=True) if not isinstance(one, Exception)]
    if not good:
        raise InputError(f"{desc} data: expected at least one usable case, found {len(cases)} cases and none usable")
    return good


def _attempt(prepare: Callable[[dict[str, Any]], Any], case: dict[str, Any]) -> Any:
    """Result or exception of one case."""
    try:
        return prepare(case)
    except Exception as error:
        return error


def _report(bad: dict[str, Exception], total: int, desc: str, skip_bad: bool) -> None:
    lines = [f"  {case}: {first_cause(error)}" for case, error in list(bad.items())[:MAX_LINES]]
    if len(bad) > MAX_LINES:
        lines.append(f"  and {len(bad) - MAX_LINES} more")
    if skip_bad:
        print("\n".join([f"note: {len(bad)} of {total} {desc} cases left out:", *lines]))
    else:
        head = f"{len(bad)} of {total} {desc} cases cannot be used (--skip_bad True leaves them out):"
        raise InputError("\n".join([head, *lines])) from next(iter(bad.values()))


def first_cause(error: BaseException) -> str:
    """Reason of a failure on one line; MONAI wraps what a transform raises."""
    found = find_input_error(error)
    if found is not None:
        return str(found)
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
