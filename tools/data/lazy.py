"""Data set that loads and preprocesses cases on access, for data that does not fit into a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from tools.data.agreement import describe_files
from tools.data.cache.pool import first_cause
from tools.data.cache.samples import Facts, detach_storage, read_case
from tools.data.window import describe_window, is_shifted
from tools.utils.errors import InputError
from tools.utils.resources import raise_shortage


class LazyDataset(Dataset):
    """Data set that applies a deterministic transform to a case at every access.

    Args:
        data: cases, see `find_classified_images`.
        transform: deterministic transform of one case.
        skip_bad: whether a case that fails is replaced by the next one, with a note, instead of an error.
        desc: name of the data in messages, such as "training".

    Attributes:
        data: the cases.
        hashes: ``{"case": id, "hashes": None}`` for each case; voxels are not hashed, since this would read all files.

    Raises:
        InputError: if there are no cases; on access, if a case cannot be read.
        ResourceError: on access, if memory or another resource is exhausted, also with `skip_bad`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        skip_bad: bool = False,
        desc: str = "training",
    ) -> None:
        if not data:
            raise InputError(f"{desc} data: expected at least one case, found none")
        self.data = list(data)
        self.transform = transform
        self.skip_bad = skip_bad
        self.desc = desc
        self.warned = False
        self.hashes = [{"case": case["case"], "hashes": None} for case in self.data]

    @property
    def contents(self) -> list[tuple[str, Any]]:
        """Id of each case and a description of its files, which are not decoded."""
        return describe_files(self.data)

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the sample of a case."""
        return detach_storage(self.read(index))

    def read(self, index: int) -> dict[str, Any]:
        """Return the sample of a case; its tensors may be views, so that a following crop copies only once."""
        for following in range(len(self.data)):
            case = self.data[(index + following) % len(self.data)]
            try:
                sample, facts = read_case(self.transform, case)
            except Exception as error:
                raise_shortage(f"{self.desc} data, {case['case']}", error)
                if not self.skip_bad:
                    raise InputError(
                        f"{self.desc} data, {case['case']}: {first_cause(error)} (--skip_bad True ignores it)"
                    ) from error
                print(f"note: {self.desc} data, {case['case']} is ignored: {first_cause(error)}")
                continue
            self._warn_of_offset(case, facts)
            return sample
        raise InputError(f"{self.desc} data: expected at least one valid case, found none among {len(self.data)}")

    def _warn_of_offset(self, case: dict[str, Any], facts: Facts) -> None:
        """Print a warning for the first case of this process that does not seem to be in HU."""
        found = facts.get("outside_window")
        if found is not None and not self.warned and is_shifted(found):
            self.warned = True
            for line in describe_window({case["case"]: found}, self.desc):
                print(line)
