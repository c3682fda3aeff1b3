"""Preprocessing without training (``--prepare True``), in parts that may run on several machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data.cache.disk import OnDisk
from tools.data.cache.pool import Failure, usable_cases
from tools.data.cache.shared import prepare_on_disk
from tools.data.loader import limit_cases
from tools.utils.errors import InputError
from tools.utils.files import format_size

Case = dict[str, Any]


def prepare_cases(
    split: Mapping[str, Sequence[Case]],
    preprocessing: Mapping[str, Callable[[Case], dict[str, Any]]],
    cache_dir: str,
    cache_dtype: str = "float32",
    prepare_workers: int | None = None,
    part: int = 0,
    parts: int = 1,
    skip_bad: bool = False,
    max_val_cases: int | None = None,
) -> None:
    """Preprocess a part of the training and validation cases into the disk cache, print a summary, and exit.

    Cases that are in the cache are not preprocessed again, so an interrupted command continues. Training with any cache
    except "none" then uses the files.

    Args:
        split: cases by "training", "validation" and possibly "test"; test cases are not prepared.
        preprocessing: deterministic transform of training and validation cases.
        cache_dir: folder of the disk cache.
        cache_dtype: type of images in the cache, see `OnDisk`.
        prepare_workers: number of processes, see `tools.data.cache.pool.attempt_cases`.
        part: index of the part.
        parts: number of parts; part i has every case whose position is i modulo `parts`.
        skip_bad: whether unusable cases are only reported.
        max_val_cases: number of validation cases that the run draws; None for all.

    Raises:
        InputError: if `part` is out of range, or cases cannot be used.
        ResourceError: if memory, disk space or another resource is exhausted.
        WriteError: if the cache folder is not writable.
        SystemExit: with code 0 on success.
    """
    if not 0 <= part < parts:
        raise InputError(f"part: expected 0 to {parts - 1} with parts {parts}, found {part}")
    members = {"training": split["training"], "validation": limit_cases(split["validation"], max_val_cases)}
    for desc, cases in members.items():
        own = cases[part::parts]
        begin, disk = time.perf_counter(), OnDisk(preprocessing[desc], Path(cache_dir), cache_dtype)
        results = prepare_on_disk(disk, own, desc, prepare_workers)
        seconds, good = time.perf_counter() - begin, [one for one in results if not isinstance(one, Failure)]
        size = sum((disk.folder / one.file).stat().st_size for one in good)
        print(
            f"{desc} data, part {part} of 0 to {parts - 1}: {len(good)} of {len(own)} cases in {cache_dir}, "
            f"{format_size(size)}, {seconds:.0f} s"
        )
        if own:
            usable_cases(own, results, desc, skip_bad)
    raise SystemExit(0)
