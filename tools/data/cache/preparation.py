"""Preparation of the cases of a data set in the cache that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tools.data.cache.backends import InMemory, OnDevice
from tools.data.cache.disk import OnDisk
from tools.data.cache.policy import choose_cache
from tools.data.cache.pool import Failure, attempt_cases
from tools.data.cache.samples import Facts, Transform
from tools.data.cache.shared import prepare_on_disk
from tools.utils import distributed
from tools.utils.resources import raise_shortage

MEASURED = 8  # evenly spaced cases for the estimate of the total size

Case = dict[str, Any]
Result = tuple[Any, Facts] | Failure


class PreparedCases:
    """Preparation of cases, each of which is read once.

    Several processes first prepare the files of the disk cache together, from which other caches are filled.

    Args:
        cases: cases, see `find_cases`.
        transform: deterministic transform of one case.
        disk: disk cache, or None.
        workers: number of processes, see `attempt_cases`.
        desc: name of the data in messages, such as "training".
    """

    def __init__(
        self, cases: Sequence[Case], transform: Transform, disk: OnDisk | None, workers: int | None, desc: str
    ) -> None:
        self.cases, self.transform, self.disk, self.workers, self.desc = cases, transform, disk, workers, desc
        self.results: dict[int, Result] = {}  # samples and facts, or failures, by index
        self.entries = None
        if disk is not None and distributed.world_size() > 1:
            self.entries = prepare_on_disk(disk, cases, desc, workers)
            self.results = {i: one for i, one in enumerate(self.entries) if isinstance(one, Failure)}
            disk.index.refresh()

    def choose(self, device: torch.device | None) -> str:
        """Choose a cache from the size of some cases, and print the choice and its reason on rank 0."""
        some = [i for i in range(0, len(self.cases), -(-len(self.cases) // MEASURED) or 1) if i not in self.results]
        self.keys = {i: self.disk.key(self.cases[i]) for i in some} if self.disk is not None else {}
        self._prepare(InMemory(self.transform, self.disk), some)
        samples = [self.results[i][0] for i in some if not isinstance(self.results[i], Failure)]
        if not samples:
            return "memory"
        choice = choose_cache(samples, len(self.cases), device, self.disk is not None)
        if distributed.rank() == 0:
            print(f"cache {choice.cache} for {self.desc}: {choice.reason}")
        return choice.cache

    def on_disk(self) -> list[Result]:
        """Prepare all cases in the disk cache; return file name and facts of each."""
        for i, one in self.results.items():
            if self.entries is None and not isinstance(one, Failure):
                self._keep(i, *one)
        entries = self.entries or prepare_on_disk(self.disk, self.cases, self.desc, self.workers)
        return [one if isinstance(one, Failure) else (one.file, one.facts) for one in entries]

    def _keep(self, i: int, sample: dict[str, Any], facts: Facts) -> None:
        if self.disk.find(self.cases[i]) is None:
            self.disk.store(self.keys[i], self.cases[i], sample, facts)

    def in_memory(self, device: torch.device | None) -> list[Result]:
        """Prepare all cases in memory, or on a device; return stored object and facts of each."""
        backend = InMemory(self.transform, self.disk) if device is None else OnDevice(self.transform, device, self.disk)
        for i in [*self.results]:
            self.results[i] = self._store(backend, self.cases[i], self.results[i])
        self._prepare(backend, [i for i in range(len(self.cases)) if i not in self.results], store=True)
        return [self.results[i] for i in range(len(self.cases))]

    def _prepare(self, backend: InMemory, indices: Sequence[int], store: bool = False) -> None:
        action = f"{'preparing' if self.entries is None else 'loading'} {self.desc}"
        workers = self.workers if self.entries is None else 0
        cases = [self.cases[i] for i in indices]
        for i, one in zip(indices, attempt_cases(cases, backend.prepare, action, workers), strict=True):
            self.results[i] = self._store(backend, self.cases[i], one) if store else one

    def _store(self, backend: InMemory, case: Case, result: Result) -> Result:
        if isinstance(result, Failure):
            return result
        try:
            return backend.store(result[0]), result[1]
        except Exception as error:  # no fault of the case
            raise_shortage(f"preparing {self.desc}, {case['case']}", error)
            raise


def content(facts: Mapping[str, Any]) -> list[Any]:
    """Return the hashes of the images and label maps of a case, from its facts."""
    return [facts.get(name, []) for name in ("hashes", "label_hashes")]
