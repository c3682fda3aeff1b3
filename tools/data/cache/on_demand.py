"""Data set whose cases are preprocessed when they are first drawn, into the disk cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai.data import get_track_meta, set_track_meta

from tools.data.agreement import SAMPLED, describe_files
from tools.data.cache.dataset import CachedDataset, Case, with_id
from tools.data.cache.disk import OnDisk
from tools.data.cache.pool import first_cause
from tools.data.window import describe_window, is_shifted
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.resources import raise_shortage


class OnDemandDataset(CachedDataset):
    """Data set that preprocesses a case at its first access and stores it in the disk cache.

    The workers of a data loader and all processes of a run use the same folder and index, see `OnDisk`.

    Args:
        data: cases, see `find_cases`.
        transform: deterministic transform of one case.
        cache_dir: folder of the disk cache, which all processes must share.
        skip_bad: whether a case that fails is replaced by the next one, with a note, instead of an error.
        desc: name of the data in messages, such as "training".
        cache_dtype: type of images in the cache, see `OnDisk`.

    Raises:
        InputError: if there are no cases, or processes have different folders; on access, if a case cannot be read.
        ResourceError: on access, if memory or another resource is exhausted, also with `skip_bad`.
        WriteError: if the cache folder is not writable.
    """

    device = None
    auto = False

    def __init__(
        self,
        data: Sequence[Case],
        transform: Callable[[Case], dict[str, Any]],
        cache_dir: str | Path,
        skip_bad: bool = False,
        desc: str = "training",
        cache_dtype: str = "float32",
    ) -> None:
        if not data:
            raise InputError(f"{desc} data: expected at least one case, found none")
        self.data = [with_id(case) for case in data]
        self.disk = OnDisk(transform, Path(cache_dir), cache_dtype)
        if len({*distributed.gather_objects(self.disk.index.folder_id())}) > 1:
            raise InputError(f"cache_dir {cache_dir}: expected one folder that all processes share for cache 'lazy'")
        self.skip_bad, self.desc, self.warned = skip_bad, desc, False
        self._stored: list[str | None] = [None] * len(self.data)
        self._mapped = {}

    @property
    def hashes(self) -> list[dict[str, Any]]:
        """Id and hashes of each case; None instead of a list for cases that no process has drawn yet."""
        known = self.disk.known_facts()
        found = [known.get(self.disk.content_key(case)) for case in self.data]
        pairs = zip(self.data, found, strict=True)
        return [{"case": case["case"], "hashes": facts and facts.get("hashes", [])} for case, facts in pairs]

    @property
    def contents(self) -> list[tuple[str, Any]]:
        """Description of the files of some cases, which are not decoded."""
        return describe_files(self.data[:: max(1, len(self.data) // SAMPLED)])

    def crop(self, index: int, transform: Callable[[dict[str, Any]], Any]) -> Any:
        """Return a crop of a case, see `CachedDataset.crop`."""
        for following in range(len(self.data)):
            number = (index + following) % len(self.data)
            if self._stored[number] is None:
                self._stored[number] = self._prepare(self.data[number])
            if self._stored[number]:
                return super().crop(number, transform)
        raise InputError(f"{self.desc} data: expected at least one valid case, found none among {len(self.data)}")

    def _prepare(self, case: Case) -> str:
        """Return the cache file of a case; empty if the case cannot be used and `skip_bad` is set."""
        tracked = get_track_meta()
        set_track_meta(True)  # preprocessing needs metadata, random transforms of cached samples do not
        try:
            entry = self.disk(case)
        except Exception as error:
            raise_shortage(f"{self.desc} data, {case['case']}", error)
            reason = first_cause(error)
            self.disk.record_error(case, reason)
            if not self.skip_bad:
                raise InputError(f"{self.desc} data, {case['case']}: {reason} (--skip_bad True ignores it)") from error
            print(f"note: {self.desc} data, {case['case']} is ignored: {reason}")
            return ""
        finally:
            set_track_meta(tracked)
        found = entry.facts.get("outside_window")
        if found is not None and not self.warned and is_shifted(found):
            self.warned = True
            for line in describe_window({case["case"]: found}, self.desc):
                print(line)
        return entry.file
