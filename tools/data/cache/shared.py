"""Preparation of the disk cache, shared by all processes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.data.agreement import compare_cases
from tools.data.cache.disk import Entry, OnDisk
from tools.data.cache.pool import Failure, attempt_cases
from tools.utils import distributed
from tools.utils.errors import InputError

Case = dict[str, Any]
Found = dict[int, Entry | Failure]


def prepare_on_disk(disk: OnDisk, cases: Sequence[Case], desc: str, workers: int | None = 0) -> list[Entry | Failure]:
    """Return the entry of each case, or its failure; cases without a valid file are preprocessed.

    Processes that share the folder, according to the id in its index, each look up and preprocess a part of the cases
    and exchange the results. All processes of the run must call this function with the same cases.

    Args:
        disk: cache folder.
        cases: cases, see `find_cases`.
        desc: name of the data in messages, such as "training".
        workers: number of processes of each rank, see `attempt_cases`.

    Raises:
        InputError: on all ranks, if the folder or a resource fails on one, or folders of different ranks differ in
            content.
    """
    folders = distributed.gather_objects(_attempt(disk.index.folder_id) if distributed.world_size() > 1 else "")
    _raise_first(folders)
    group = [rank for rank, folder in enumerate(folders) if folder == folders[distributed.rank()]]
    place = group.index(distributed.rank())
    known = _exchange(_attempt(_look_up, disk, cases, range(place, len(cases), len(group))), group)
    missing = [i for i in range(len(cases)) if i not in known]
    known |= _exchange(_attempt(_prepare, disk, cases, missing[place :: len(group)], desc, workers), group)
    results = [known[i] for i in range(len(cases))]
    if len(group) < len(folders):
        compare_cases(desc, _describe(cases, results))
    return results


def _look_up(disk: OnDisk, cases: Sequence[Case], indices: Sequence[int]) -> Found:
    found = {i: disk.find(cases[i]) for i in indices}
    return {i: entry for i, entry in found.items() if entry is not None}


def _prepare(disk: OnDisk, cases: Sequence[Case], indices: Sequence[int], desc: str, workers: int | None) -> Found:
    mine = [cases[i] for i in indices]
    found: Found = {}
    for i, one in zip(indices, attempt_cases(mine, disk, f"preparing {desc}", workers), strict=True):
        if isinstance(one, Failure):
            disk.record_error(cases[i], one.reason)
        found[i] = one
    return found


def _attempt(function: Any, *arguments: Any) -> Any:
    """Return the result or the `InputError`, so that all ranks can raise it instead of waiting for this one."""
    try:
        return function(*arguments)
    except InputError as error:
        return error


def _exchange(own: Found | InputError, group: Sequence[int]) -> Found:
    """Return the results of all ranks of a group; raise the first error of any rank."""
    results = distributed.gather_objects(own)
    _raise_first(results)
    return {i: one for rank in group for i, one in results[rank].items()}


def _raise_first(results: Sequence[Any]) -> None:
    for one in results:
        if isinstance(one, InputError):
            raise one


def _describe(cases: Sequence[Case], results: Sequence[Entry | Failure]) -> list[tuple[str, Any]]:
    """Return id and hashes of each usable case."""
    good = [(case["case"], one.facts) for case, one in zip(cases, results, strict=True) if isinstance(one, Entry)]
    return [(case, [facts.get(name, []) for name in ("hashes", "label_hashes")]) for case, facts in good]
