"""Deterministic preprocessing, done once per case and kept in memory, on disk or on the device."""

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

from tools.data.cache.backends import Compact, Facts, InMemory, OnDevice, OnDisk
from tools.data.cache.policy import CACHES, choose_cache
from tools.data.window import describe_window
from tools.utils import distributed
from tools.utils.errors import InputError, check_choice, find_input_error
from tools.utils.resources import DEVICE, ResourceError, find_shortage, raise_shortage
from tools.utils.tensor_files import load_tensors

MAX_LINES = 10
MAPPED = 10_000  # files at a time; a process may have 65530 mappings in all
MEASURED = 8  # cases, spread evenly, whose size stands for that of all


class CachedDataset(Dataset):
    """Cases after a deterministic transform that ran once, at construction.

    Samples are dictionaries of plain tensors, texts and numbers. The disk cache holds one file per case; its name is a
    hash of the case, of the sizes and times of the files it names, and of the transform's configuration, so a changed
    file or setting is computed anew. Files are written whole, so several runs may share a cache. They are mapped, not
    read: a crop costs the pages it touches. On the device images are kept as float16 and labels in their smallest type;
    they are cut there, and what is cut out gets the type it had.

    Args:
        data: cases as `find_cases` gives them.
        transform: a deterministic transform of one case. It may leave "hashes" (`HashVoxelsd`) and
            "outside_window" (`CheckWindowd`) in the sample.
        cache: "memory", "disk", "device", or "auto" for the fastest that has room, see `choose_cache`.
        cache_dir: folder of the disk cache.
        skip_bad: print and leave out the cases that fail, instead of raising.
        num_workers: threads.
        desc: name of this part of the data, for the progress bar and messages.
        device: the trainer's, for caches "device" and "auto"; the latter keeps nothing on a CPU.

    Attributes:
        data: the cases kept.
        hashes: for each case kept ``{"case": id, "hashes": list}``.
        contents: for each case kept its id, and the hashes of its images and label maps.
        device: where images are kept, with cache "device"; else None.
        chosen: whether the cache was left to be chosen.

    Raises:
        InputError: cases failed (one line each, at most 10), none is left, the cache's settings are wrong, or the
            device is full.
        ResourceError: the machine lacks memory, disk space or the like, or the cache folder cannot be written to.
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
        data = [case if "case" in case else {**case, "case": str(case["image"])} for case in data]  # MONAI Label's
        self.chosen = cache == "auto"
        disk = OnDisk(transform, Path(cache_dir)) if cache in ("auto", "disk") and cache_dir is not None else None
        measured = _Measured(data, transform, disk, num_workers) if self.chosen else None
        if measured is not None:
            cache = measured.choose(len(data), device, desc)
        keeping = InMemory(transform, disk)
        if cache in ("device", "disk"):
            keeping = disk if cache == "disk" else OnDevice(transform, device, disk)
        prepare = keeping if measured is None else partial(measured.keep, keeping)
        try:
            good = map_cases(data, prepare, f"preparing {desc}", desc, skip_bad, num_workers)
        except ResourceError as error:
            if cache != "device" or find_shortage(error) != DEVICE:
                raise
            raise InputError(f"cache: expected room for the {desc} data on {device}, found too little") from error
        self.device = device if cache == "device" else None
        self.data = [case for case, _ in good]
        self.hashes = [{"case": case["case"], "hashes": facts.get("hashes", [])} for case, (_, facts) in good]
        self.contents = [
            (case["case"], [facts.get(name, []) for name in ("hashes", "label_hashes")]) for case, (_, facts) in good
        ]
        self._kept = [kept for _, (kept, _) in good]
        if distributed.rank() == 0:
            outside = {case["case"]: f["outside_window"] for case, (_, f) in good if "outside_window" in f}
            for line in describe_window(outside, desc):
                print(line)
        #: samples and lengths of mapped files; opening a file takes longer than cutting from it
        self._mapped: dict[int, tuple[dict[str, Any], int]] = {}

    def __len__(self) -> int:
        """Number of cases kept."""
        return len(self._kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample of a case: a new dictionary, with the cached tensors (not to be written to)."""
        return self.cut(index, _whole)

    def cut(self, index: int, pick: Callable[[dict[str, Any]], Any]) -> Any:
        """Sample, or list of samples, that is cut from a case, without touching the rest of it.

        Args:
            index: of the case.
            pick: takes a sample, gives samples of some of its voxels; it must not compute with them.
        """
        kept = self._kept[index]
        if isinstance(kept, Compact):
            return kept.restore(pick(dict(kept.sample)))
        return pick(dict(self._map(index, kept) if isinstance(kept, Path) else kept))

    def _map(self, index: int, path: Path) -> dict[str, Any]:
        """Sample in a file of the disk cache, which is mapped once; reading behind the end of a file is a SIGBUS."""
        sample, length = self._mapped.get(index, (None, 0))
        try:
            found = path.stat().st_size
            if sample is None:
                name = f"cache_dir {path.parent}: {path.name}"
                sample, length = load_tensors(path, name, "a prepared case", mapped=True)["sample"], found
                if len(self._mapped) < MAPPED:
                    self._mapped[index] = sample, length
        except FileNotFoundError as error:
            if sample is None:  # a mapped one lives on
                raise _lost(path, "none") from error
            found = length
        if found < length:
            raise _lost(path, f"{found} of its {length} bytes")
        return sample


def _lost(path: Path, found: str) -> InputError:
    return InputError(
        f"cache_dir {path.parent}: expected the prepared case {path.name}, found {found}; it was removed or cut short "
        "during the run, and the same command prepares it again"
    )


def _whole(sample: dict[str, Any]) -> dict[str, Any]:
    return sample


def _check_cache(cache: str, cache_dir: str | Path | None, device: torch.device | None) -> None:
    check_choice(cache, CACHES, "cache")
    if cache == "disk" and cache_dir is None:
        raise InputError("cache_dir: expected a folder for cache 'disk', found none")
    if cache == "device" and device is None:
        raise InputError("device: expected the trainer's for cache 'device', found none")


@contextmanager
def thread_pool(num_workers: int) -> Iterator[ThreadPool]:
    """Threads that have all ended afterwards; `ThreadPool` leaves those that still work when the process exits."""
    pool = ThreadPool(max(1, num_workers))
    try:
        yield pool
    finally:
        pool.terminate()
        pool.join()


class _Measured:
    """Some cases, prepared before it is known where they are kept; or found on disk, where an earlier run left them."""

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
        self.prepared: dict[int, tuple[dict[str, Any], Facts]] = {}  # by identity: ids may repeat
        self.found: dict[int, Facts] = {}  # likewise
        with thread_pool(num_workers) as pool:
            results = pool.map(lambda case: _attempt(self._measure, case), some)
        for case, one in zip(some, results, strict=True):
            if isinstance(one, BaseException):
                raise_shortage(f"preparing {case['case']}", one)
        self.samples = [one for one in results if not isinstance(one, Exception)]  # who keeps the bad ones reports them

    def _measure(self, case: dict[str, Any]) -> dict[str, Any]:
        found = None if self.disk is None else self.disk.find(case)
        if found is not None:
            self.found[id(case)] = found["facts"]
            return found["sample"]
        self.prepared[id(case)] = self.memory.prepare(case)
        return self.prepared[id(case)][0]

    def choose(self, count: int, device: torch.device | None, desc: str) -> str:
        """Choose a cache and, once per run, say which and why."""
        if not self.samples:
            return "memory"
        choice = choose_cache(self.samples, count, device, self.disk is not None)
        self.samples = []
        if distributed.rank() == 0:
            print(f"cache {choice.cache} for {desc}: {choice.reason}")
        return choice.cache

    def keep(self, keeping: InMemory, case: dict[str, Any]) -> tuple[Any, Facts]:
        """What is kept of a case, and its facts."""
        if keeping is self.disk and id(case) in self.found:
            return self.disk.path(case), self.found[id(case)]
        if id(case) not in self.prepared:
            return keeping(case)
        sample, facts = self.prepared.pop(id(case))
        return keeping.keep(case, sample, facts), facts


def map_cases(
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
        ResourceError: the machine lacks memory, disk space or the like, also with `skip_bad`.
    """
    bar = {"total": len(cases), "desc": doing, "unit": "case", "disable": distributed.rank() != 0}
    results = []
    with thread_pool(num_workers) as pool:
        for one in tqdm(pool.imap(lambda case: _attempt(prepare, case), cases), **bar):
            if isinstance(one, BaseException):
                raise_shortage(f"{doing}, {cases[len(results)]['case']}", one)
            results.append(one)
    bad = {case["case"]: one for case, one in zip(cases, results, strict=True) if isinstance(one, Exception)}
    if bad:
        _report(bad, len(cases), desc, skip_bad)
    good = [(case, one) for case, one in zip(cases, results, strict=True) if not isinstance(one, Exception)]
    if not good:
        raise InputError(f"{desc} data: expected at least one usable case, found {len(cases)} cases and none usable")
    return good


def _attempt(prepare: Callable[[dict[str, Any]], Any], case: dict[str, Any]) -> Any:
    """Result or exception of one case; a thread that ended by a `KeyboardInterrupt` would leave the pool waiting."""
    try:
        return prepare(case)
    except BaseException as error:
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
