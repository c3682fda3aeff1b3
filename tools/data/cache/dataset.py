"""Data set with deterministic preprocessing that is cached in memory, on disk or on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from tools.data.cache.disk import OnDisk
from tools.data.cache.policy import CACHES
from tools.data.cache.pool import usable_cases
from tools.data.cache.preparation import PreparedCases, content
from tools.data.cache.samples import CompactSample
from tools.data.window import describe_window
from tools.utils import distributed
from tools.utils.errors import InputError, check_choice
from tools.utils.resources import DEVICE, ResourceError, find_shortage

MAX_MAPPED = 10_000  # memory-mapped files; Linux allows 65530 mappings per process

Case = dict[str, Any]


class CachedDataset(Dataset):
    """Data set of cases that are preprocessed once, at construction.

    Samples are dictionaries of plain tensors, strings and numbers.

    - Disk: one file per case, see `OnDisk`, and an index. Changed files or settings are preprocessed again. Files are
      written atomically and can be shared by several runs. They are memory-mapped, so that a crop reads only its pages.
    - Device: images are stored as float16 and labels in the smallest integer type. Crops are taken on the device and
      converted to the original type.

    Several processes with a `cache_dir` share the preprocessing, see `prepare_on_disk`, whatever the cache. Cases that
    are already in `cache_dir` are not preprocessed again, whatever the cache.

    Args:
        data: cases, see `find_cases`.
        transform: deterministic transform of one case. "hashes" (of `HashVoxelsd`) and "outside_window" (of
            `CheckWindowd`) in its output are removed from the samples.
        cache: "memory", "disk", "device", or "auto" for the fastest with enough space, see `choose_cache`.
        cache_dir: folder of the disk cache.
        skip_bad: whether cases that fail are excluded with a note, instead of an error.
        workers: number of processes that preprocess, see `attempt_cases`.
        desc: name of the data in messages, such as "training".
        device: device of the trainer, for the caches "device" and "auto"; "auto" does not use it if it is a CPU.
        cache_dtype: type of images in the disk cache, see `OnDisk`.

    Attributes:
        data: the valid cases.
        hashes: ``{"case": id, "hashes": list}`` for each valid case; None instead of a list if they are unknown.
        contents: id of each valid case, and the hashes of its images and label maps.
        device: device of the images with cache "device", otherwise None.
        auto: whether the cache was selected automatically.

    Raises:
        InputError: if cases fail (one line each, at most 10), no case is valid, the cache settings are invalid, or the
            device memory is full.
        ResourceError: if memory, disk space or another resource is exhausted.
        WriteError: if the cache folder is not writable.
    """

    def __init__(
        self,
        data: Sequence[Case],
        transform: Callable[[Case], dict[str, Any]],
        cache: str = "memory",
        cache_dir: str | Path | None = None,
        skip_bad: bool = False,
        workers: int | None = 0,
        desc: str = "training",
        device: torch.device | str | None = None,
        cache_dtype: str = "float32",
    ) -> None:
        device = None if device is None else torch.device(device)
        _check_cache(cache, cache_dir, device)
        data = [with_id(case) for case in data]
        disk = None if cache_dir is None else OnDisk(transform, Path(cache_dir), cache_dtype)
        prepared = PreparedCases(data, transform, disk, workers, desc)
        self.auto = cache == "auto"
        if self.auto:
            cache = prepared.choose(device)
        self.device = device if cache == "device" else None
        try:
            results = prepared.on_disk() if cache == "disk" else prepared.in_memory(self.device)
        except ResourceError as error:
            if cache != "device" or find_shortage(error) != DEVICE:
                raise
            raise InputError(
                f"cache: expected enough memory on {device} for the {desc} data, found too little"
            ) from error
        good = usable_cases(data, results, desc, skip_bad)
        self.data = [case for case, _ in good]
        self.hashes = [{"case": case["case"], "hashes": facts.get("hashes", [])} for case, (_, facts) in good]
        self.contents = [(case["case"], content(facts)) for case, (_, facts) in good]
        self.disk = disk
        self._stored = [stored for _, (stored, _) in good]
        self._mapped: dict[int, tuple[CompactSample, int]] = {}
        if distributed.rank() == 0:
            outside = {case["case"]: f["outside_window"] for case, (_, f) in good if "outside_window" in f}
            for line in describe_window(outside, desc):
                print(line)

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
        if isinstance(stored, str):
            stored = self._map(index, stored)
        if isinstance(stored, CompactSample):
            return stored.restore(transform(dict(stored.sample)))
        return transform(dict(stored))

    def _map(self, index: int, file: str) -> CompactSample:
        """Map a file of the disk cache once, and check its length: reading beyond the end would raise SIGBUS."""
        sample, length = self._mapped.get(index, (None, 0))
        path = self.disk.folder / file
        try:
            found = path.stat().st_size
            if sample is None:
                read, length = self.disk.load(file, mapped=True), found
                sample = CompactSample(read["sample"], read["dtypes"])
                if len(self._mapped) < MAX_MAPPED:  # opening a file takes longer than a crop
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


def with_id(case: Case) -> Case:
    """Return a case with an id; those of MONAI Label have none."""
    return case if "case" in case else {**case, "case": str(case["image"])}


def _check_cache(cache: str, cache_dir: str | Path | None, device: torch.device | None) -> None:
    check_choice(cache, CACHES, "cache")
    if cache in ("disk", "lazy") and cache_dir is None:
        raise InputError(f"cache_dir: expected a folder for cache '{cache}', found none")
    if cache == "device" and device is None:
        raise InputError("device: expected the device of the trainer for cache 'device', found none")
