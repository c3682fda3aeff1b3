"""Data set with deterministic preprocessing that is cached in memory, on disk or on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from tools.data.cache.backends import CompactSample, Facts, InMemory, OnDevice, OnDisk
from tools.data.cache.policy import CACHES, choose_cache
from tools.data.window import describe_window
from tools.utils import distributed
from tools.utils.errors import InputError, check_choice, find_input_error
from tools.utils.resources import DEVICE, ResourceError, find_shortage, raise_shortage
from tools.utils.tensor_files import load_tensors

MAX_LINES = 10
MAX_MAPPED = 10_000  # memory-mapped files; Linux allows 65530 mappings per process
MEASURED = 8  # evenly spaced cases for the estimate of the total size


class CachedDataset(Dataset):
    """Data set of cases that are preprocessed once, at construction.

    Samples are dictionaries of plain tensors, strings and numbers.

    - Disk: one file per case. The file name is a hash of the case, the sizes and modification times of its files, and
      the configuration of the transform. Changed files or settings are preprocessed again. Files are written
      atomically and can be shared by several runs. They are memory-mapped, so that a crop reads only its pages.
    - Device: images are stored as float16 and labels in the smallest integer type. Crops are taken on the device and
      converted to the original type.

    Args:
        data: cases, see `find_cases`.
        transform: deterministic transform of one case. "hashes" (of `HashVoxelsd`) and "outside_window" (of
            `CheckWindowd`) in its output are removed from the samples.
        cache: "memory", "disk", "device", or "auto" for the fastest with enough space, see `choose_cache`.
        cache_dir: folder of the disk cache.
        skip_bad: whether cases that fail are excluded with a note, instead of an error.
        num_workers: number of threads.
        desc: name of the data in messages, such as "training".
        device: device of the trainer, for the caches "device" and "auto"; "auto" does not use it if it is a CPU.

    Attributes:
        data: the valid cases.
        hashes: ``{"case": id, "hashes": list}`` for each valid case.
        contents: id of each valid case, and the hashes of its images and label maps.
        device: device of the images with cache "device", otherwise None.
        auto: whether the cache was selected automatically.

    Raises:
        InputError: if cases fail (one line each, at most 10), no case is valid, the cache settings are invalid, or the
            device memory is full.
        ResourceError: if memory, disk space or another resource is exhausted, or the cache folder is not writable.
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
        device: torch.device | str | None = None,
    ) -> None:
        device = None if device is None else torch.device(device)
        _check_cache(cache, cache_dir, device)
        data = [
            case if "case" in case else {**case, "case": str(case["image"])} for case in data
        ]  # MONAI Label has no ids
        self.auto = cache == "auto"
        disk = OnDisk(transform, Path(cache_dir)) if cache in ("auto", "disk") and cache_dir is not None else None
        trial = _Trial(data, transform, disk, num_workers) if self.auto else None
        if trial is not None:
            cache = trial.choose(len(data), device, desc)
        backend = InMemory(transform, disk)
        if cache in ("device", "disk"):
            backend = disk if cache == "disk" else OnDevice(transform, device, disk)
        prepare = backend if trial is None else partial(trial.store, backend)
        try:
            good = map_cases(data, prepare, f"preparing {desc}", desc, skip_bad, num_workers)
        except ResourceError as error:
            if cache != "device" or find_shortage(error) != DEVICE:
                raise
            raise InputError(
                f"cache: expected enough memory on {device} for the {desc} data, found too little"
            ) from error
        self.device = device if cache == "device" else None
        self.data = [case for case, _ in good]
        self.hashes = [{"case": case["case"], "hashes": facts.get("hashes", [])} for case, (_, facts) in good]
        self.contents = [
            (case["case"], [facts.get(name, []) for name in ("hashes", "label_hashes")]) for case, (_, facts) in good
        ]
        self._stored = [stored for _, (stored, _) in good]
        if distributed.rank() == 0:
            outside = {case["case"]: f["outside_window"] for case, (_, f) in good if "outside_window" in f}
            for line in describe_window(outside, desc):
                print(line)
        #: samples and lengths of mapped files; opening a file takes longer than a crop
        self._mapped: dict[int, tuple[dict[str, Any], int]] = {}

    def __len__(self) -> int:
        """Return the number of valid cases."""
        return len(self._stored)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the sample of a case: a new dictionary with the cached tensors, which must not be modified."""
        return self.crop(index, _whole)

    def crop(self, index: int, transform: Callable[[dict[str, Any]], Any]) -> Any:
        """Return a crop, or a list of crops, of a case without loading the rest of it.

        Args:
            index: index of the case.
            transform: cropping transform, which selects voxels but does not change their values.
        """
        stored = self._stored[index]
        if isinstance(stored, CompactSample):
            return stored.restore(transform(dict(stored.sample)))
        return transform(dict(self._map(index, stored) if isinstance(stored, Path) else stored))

    def _map(self, index: int, path: Path) -> dict[str, Any]:
        """Map a file of the disk cache once, and check its length: reading beyond the end would raise SIGBUS."""
        sample, length = self._mapped.get(index, (None, 0))
        try:
            found = path.stat().st_size
            if sample is None:
                name = f"cache_dir {path.parent}: {path.name}"
                sample, length = load_tensors(path, name, "a preprocessed case", mapped=True)["sample"], found
                if len(self._mapped) < MAX_MAPPED:
                    self._mapped[index] = sample, length
        except FileNotFoundError as error:
            if sample is None:  # a mapped file stays readable
                raise _lost(path, "none") from error
            found = length
        if found < length:
            raise _lost(path, f"{found} of its {length} bytes")
        return sample


def _lost(path: Path, found: str) -> InputError:
    return InputError(
        f"cache_dir {path.parent}: expected the file {path.name} of a preprocessed case, found {found}; it was removed "
        "or cut short during the run, and the same command creates it again"
    )


def _whole(sample: dict[str, Any]) -> dict[str, Any]:
    return sample


def _check_cache(cache: str, cache_dir: str | Path | None, device: torch.device | None) -> None:
    check_choice(cache, CACHES, "cache")
    if cache == "disk" and cache_dir is None:
        raise InputError("cache_dir: expected a folder for cache 'disk', found none")
    if cache == "device" and device is None:
        raise InputError("device: expected the device of the trainer for cache 'device', found none")


@contextmanager
def thread_pool(num_workers: int) -> Iterator[ThreadPool]:
    """Return a context with a pool of threads that are joined at the end, unlike in `ThreadPool`."""
    pool = ThreadPool(max(1, num_workers))
    try:
        yield pool
    finally:
        pool.terminate()
        pool.join()


class _Trial:
    """Some cases that are preprocessed, or read from an existing disk cache, to choose a cache."""

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        disk: OnDisk | None,
        num_workers: int,
    ) -> None:
        self.disk = disk
        self.memory = InMemory(transform)
        some = data[:: -(-len(data) // MEASURED)] if data else []
        self.prepared: dict[int, tuple[dict[str, Any], Facts]] = {}  # by `id`, since case ids may be duplicates
        self.found: dict[int, Facts] = {}  # by `id`
        with thread_pool(num_workers) as pool:
            results = pool.map(lambda case: _attempt(self._measure, case), some)
        for case, one in zip(some, results, strict=True):
            if isinstance(one, BaseException):
                raise_shortage(f"preparing {case['case']}", one)
        self.samples = [one for one in results if not isinstance(one, Exception)]  # errors are reported later

    def _measure(self, case: dict[str, Any]) -> dict[str, Any]:
        found = None if self.disk is None else self.disk.find(case)
        if found is not None:
            self.found[id(case)] = found["facts"]
            return found["sample"]
        self.prepared[id(case)] = self.memory.prepare(case)
        return self.prepared[id(case)][0]

    def choose(self, count: int, device: torch.device | None, desc: str) -> str:
        """Choose a cache and print the choice and its reason on rank 0."""
        if not self.samples:
            return "memory"
        choice = choose_cache(self.samples, count, device, self.disk is not None)
        self.samples = []
        if distributed.rank() == 0:
            print(f"cache {choice.cache} for {desc}: {choice.reason}")
        return choice.cache

    def store(self, backend: InMemory, case: dict[str, Any]) -> tuple[Any, Facts]:
        """Store a case in a back end; return the stored object and the facts."""
        if backend is self.disk and id(case) in self.found:
            return self.disk.path(case), self.found[id(case)]
        if id(case) not in self.prepared:
            return backend(case)
        sample, facts = self.prepared.pop(id(case))
        return backend.store(case, sample, facts), facts


def map_cases(
    cases: Sequence[dict[str, Any]],
    function: Callable[[dict[str, Any]], Any],
    action: str,
    desc: str,
    skip_bad: bool = False,
    num_workers: int = 2,
) -> list[tuple[dict[str, Any], Any]]:
    """Apply a function to all cases in threads and report all failures together.

    Args:
        cases: cases, see `find_cases`.
        function: function of a case.
        action: description of the progress bar.
        desc: name of the data in messages, such as "training".
        skip_bad: whether cases that fail are excluded with a note, instead of an error.
        num_workers: number of threads.

    Returns:
        Valid cases with their results.

    Raises:
        InputError: if cases fail (one line each, at most 10), or no case is valid.
        ResourceError: if memory, disk space or another resource is exhausted, also with `skip_bad`.
    """
    bar = {"total": len(cases), "desc": action, "unit": "case", "disable": distributed.rank() != 0}
    results = []
    with thread_pool(num_workers) as pool:
        for one in tqdm(pool.imap(lambda case: _attempt(function, case), cases), **bar):
            if isinstance(one, BaseException):
                raise_shortage(f"{action}, {cases[len(results)]['case']}", one)
            results.append(one)
    bad = {case["case"]: one for case, one in zip(cases, results, strict=True) if isinstance(one, Exception)}
    if bad:
        _report(bad, len(cases), desc, skip_bad)
    good = [(case, one) for case, one in zip(cases, results, strict=True) if not isinstance(one, Exception)]
    if not good:
        raise InputError(f"{desc} data: expected at least one valid case, found none among {len(cases)}")
    return good


def _attempt(function: Callable[[dict[str, Any]], Any], case: dict[str, Any]) -> Any:
    """Return the result or the exception; an uncaught `KeyboardInterrupt` in a thread would block the pool."""
    try:
        return function(case)
    except BaseException as error:
        return error


def _report(bad: dict[str, Exception], total: int, desc: str, skip_bad: bool) -> None:
    lines = [f"  {case}: {first_cause(error)}" for case, error in list(bad.items())[:MAX_LINES]]
    if len(bad) > MAX_LINES:
        lines.append(f"  and {len(bad) - MAX_LINES} more")
    if skip_bad:
        print("\n".join([f"note: {len(bad)} of {total} {desc} cases are excluded:", *lines]))
    else:
        head = f"{len(bad)} of {total} {desc} cases cannot be used (--skip_bad True excludes them):"
        raise InputError("\n".join([head, *lines])) from next(iter(bad.values()))


def first_cause(error: BaseException) -> str:
    """Return the message of the original error on one line, since MONAI wraps errors of transforms."""
    found = find_input_error(error)
    if found is not None:
        return str(found)
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
