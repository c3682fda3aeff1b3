"""Check that all processes of a distributed run have the same data."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tools.data.cache.disk import file_states
from tools.utils import distributed
from tools.utils.errors import InputError

SAMPLED = 64  # evenly spaced cases whose files are read; of the other cases only the file sizes are compared
ENDS = 2**20  # bytes that are read at the beginning and at the end of a file


def compare_cases(desc: str, cases: Sequence[tuple[str, Any]]) -> None:
    """Compare the cases of all processes. All processes of the run must call this function.

    Args:
        desc: name of the data in messages, such as "training".
        cases: id of each case, and a picklable description of its content with a stable `repr`.

    Raises:
        InputError: on all processes, if the cases, their contents or their order differ between processes.
    """
    digests = distributed.gather_objects(hashlib.sha256(repr(list(cases)).encode()).hexdigest())
    if len({*digests}) > 1:
        common = Counter(digests).most_common(1)[0][0]  # on ties, the lowest rank's
        found = distributed.gather_objects(list(cases))
        others = {rank: found[rank] for rank, digest in enumerate(digests) if digest != common}
        raise InputError(_describe(desc, found[digests.index(common)], others))


def _describe(desc: str, expected: Sequence[tuple[str, Any]], others: Mapping[int, Sequence[tuple[str, Any]]]) -> str:
    differences = {rank: _differences(dict(expected), dict(found)) for rank, found in others.items()}
    rank, found = next(iter(differences.items()))
    example = f"{len(found)} different cases, such as {found[0]}" if found else "another order"
    ranks = f"rank{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
    return (
        f"{desc} data: expected the same cases on all processes, found different ones on {ranks} (rank {rank}: "
        f"{example}); use the same dataset_dir on all machines"
    )


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    missing = [f"{case} (missing there)" for case in expected if case not in found]
    extra = [f"{case} (only there)" for case in found if case not in expected]
    return [*missing, *extra, *(f"{c} (other content)" for c in found if expected.get(c, found[c]) != found[c])]


def describe_cases(cases: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return case ids and values such as labels. Paths are excluded, since mount points differ between machines."""
    return [
        (case.get("case", ""), sorted((key, repr(value)) for key, value in case.items() if not _is_path(value)))
        for case in cases
    ]


def _is_path(value: Any) -> bool:
    return any(isinstance(one, str) and os.path.isabs(one) for one in (value if isinstance(value, list) else [value]))


def describe_files(cases: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return case ids and file sizes, for `SAMPLED` cases also hashes of the beginning and end of each file."""
    step = max(1, len(cases) // SAMPLED)
    return [(case["case"], _describe_files(case, read=number % step == 0)) for number, case in enumerate(cases)]


def _describe_files(case: Mapping[str, Any], read: bool) -> list[Any]:
    try:
        return [(size, _digest(path, size) if read else "") for path, size, _ in file_states(case)]
    except OSError as error:
        return [f"unreadable: {error.strerror}"]


def _digest(path: str, size: int) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(ENDS))
        file.seek(max(ENDS, size - ENDS))
        digest.update(file.read(ENDS))
    return digest.hexdigest()
