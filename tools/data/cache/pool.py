"""Preparation of many cases in processes, with a progress bar and a report of the cases that fail."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from tools.utils import distributed
from tools.utils.errors import InputError, find_input_error
from tools.utils.resources import raise_shortage

MAX_LINES = 10
MIN_CASES = 16  # cases for each process by default, since starting a process takes as long as some cases

Case = dict[str, Any]


class Failure(NamedTuple):
    """Reason why a case cannot be used, on one line."""

    reason: str


def default_workers() -> int:
    """Return the number of cores per process of the run on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // distributed.local_world_size())


def map_cases(
    cases: Sequence[Case],
    function: Callable[[Case], Any],
    action: str,
    desc: str,
    skip_bad: bool = False,
    workers: int | None = 0,
) -> list[tuple[Case, Any]]:
    """Apply a function to all cases and report all failures together; see `attempt_cases` and `usable_cases`."""
    return usable_cases(cases, list(attempt_cases(cases, function, action, workers)), desc, skip_bad)


def attempt_cases(
    cases: Sequence[Case], function: Callable[[Case], Any], action: str, workers: int | None = 0
) -> Iterator[Any]:
    """Yield the result of a function, or a `Failure`, for each case in order.

    A failure is printed when it occurs, and the progress bar counts failures.

    Args:
        cases: cases, see `find_cases`.
        function: function of a case with a picklable result.
        action: description of the progress bar.
        workers: number of processes; 0 for this process, None for `default_workers` with at least 16 cases
            each.

    Raises:
        ResourceError: if memory, disk space or another resource is exhausted.
        WriteError: if a file cannot be written.
    """
    bad = 0
    bar = {"total": len(cases), "desc": action, "unit": "case", "disable": distributed.rank() != 0 or not cases}
    with tqdm(**bar) as progress:
        for case, one in zip(cases, _results(partial(_attempt, function, action), cases, action, workers), strict=True):
            if isinstance(one, InputError):
                raise one
            if isinstance(one, Failure):
                bad += 1
                progress.set_postfix(bad=bad)
                if bad <= MAX_LINES:
                    progress.write(f"{action}: {case['case']} cannot be used: {one.reason}", file=sys.stderr)
            progress.update()
            yield one


class _Results(Dataset):
    """Pickled results of a function; a pickle needs neither shared memory nor open files, unlike tensors."""

    def __init__(self, function: Callable[[Case], Any], cases: Sequence[Case]) -> None:
        self.function, self.cases = function, cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> bytes:
        return pickle.dumps(self.function(self.cases[index]), protocol=pickle.HIGHEST_PROTOCOL)


def _results(function: Callable[[Case], Any], cases: Sequence[Case], action: str, workers: int | None) -> Iterator[Any]:
    workers = min(default_workers(), len(cases) // MIN_CASES) if workers is None else min(workers, len(cases))
    if workers < 2:
        yield from map(function, cases)
        return
    generator = torch.Generator()  # the loader draws a seed, which must not change the global random state
    loader = DataLoader(
        _Results(function, cases), batch_size=None, num_workers=workers, generator=generator, collate_fn=_same
    )
    try:
        for one in loader:
            yield pickle.loads(one)
    except RuntimeError as error:  # a process was killed
        raise_shortage(action, error)
        raise


def _same(value: bytes) -> bytes:
    return value


def _attempt(function: Callable[[Case], Any], action: str, case: Case) -> Any:
    """Return the result, a `Failure`, or the error of an exhausted resource."""
    try:
        return function(case)
    except Exception as error:
        try:
            raise_shortage(f"{action}, {case['case']}", error)
        except InputError as shortage:
            return shortage
        return Failure(first_cause(error))


def usable_cases(cases: Sequence[Case], results: Sequence[Any], desc: str, skip_bad: bool) -> list[tuple[Case, Any]]:
    """Return the cases without a `Failure` and their results.

    Args:
        cases: cases.
        results: results of `attempt_cases`.
        desc: name of the data in messages, such as "training".
        skip_bad: whether failures are printed in a note, instead of an error.

    Raises:
        InputError: if cases fail (one line each, at most 10), or no case is usable.
    """
    pairs = list(zip(cases, results, strict=True))
    bad = [(case["case"], one.reason) for case, one in pairs if isinstance(one, Failure)]
    if bad:
        _report(bad, len(cases), desc, skip_bad)
    good = [(case, one) for case, one in pairs if not isinstance(one, Failure)]
    if not good:
        raise InputError(f"{desc} data: expected at least one valid case, found none among {len(cases)}")
    return good


def _report(bad: Sequence[tuple[str, str]], total: int, desc: str, skip_bad: bool) -> None:
    lines = [f"  {case}: {reason}" for case, reason in bad[:MAX_LINES]]
    if len(bad) > MAX_LINES:
        lines.append(f"  and {len(bad) - MAX_LINES} more")
    if not skip_bad:
        head = f"{len(bad)} of {total} {desc} cases cannot be used (--skip_bad True excludes them):"
        raise InputError("\n".join([head, *lines]))
    if distributed.rank() == 0:
        print("\n".join([f"note: {len(bad)} of {total} {desc} cases are excluded:", *lines]))


def first_cause(error: BaseException) -> str:
    """Return the message of the original error on one line, since MONAI wraps errors of transforms."""
    found = find_input_error(error)
    if found is not None:
        return str(found)
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
