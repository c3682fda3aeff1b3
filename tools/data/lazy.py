"""Cases read anew at every draw, for sets too large to be kept prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from tools.data.agreement import describe_files
from tools.data.cache.backends import Facts, detach_storage, read_case
from tools.data.cache.dataset import first_cause
from tools.data.window import describe_window, is_shifted
from tools.utils.errors import InputError
from tools.utils.resources import raise_shortage


class LazyDataset(Dataset):
    """Cases after a deterministic transform that runs whenever one is asked for.

    Args:
        data: cases as `find_classified_images` gives them.
        transform: a deterministic transform of one case.
        skip_bad: in the place of a case that fails take the next that does not, and say so, instead of raising.
        desc: name of this part of the data, for messages.

    Attributes:
        data: the cases.
        hashes: for each ``{"case": id, "hashes": []}``: what is never read beforehand is not hashed.

    Raises:
        InputError: no cases; when one is asked for, it cannot be read.
        ResourceError: when one is asked for, the machine lacks memory or the like, also with `skip_bad`.
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
        self.hashes = [{"case": case["case"], "hashes": []} for case in self.data]

    @property
    def contents(self) -> list[tuple[str, Any]]:
        """For each case its id, and what its files are like without decoding them."""
        return describe_files(self.data)

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample of a case."""
        return detach_storage(self.read(index))

    def read(self, index: int) -> dict[str, Any]:
        """Sample of a case, whose tensors may be views: what is cut out of it need not be copied twice."""
        for following in range(len(self.data)):
            case = self.data[(index + following) % len(self.data)]
            try:
                sample, facts = read_case(self.transform, case)
            except Exception as error:
                raise_shortage(f"{self.desc} data, {case['case']}", error)
                if not self.skip_bad:
                    raise InputError(
                        f"{self.desc} data, {case['case']}: {first_cause(error)} (--skip_bad True passes over it)"
                    ) from error
                print(f"note: {self.desc} data, {case['case']} left out: {first_cause(error)}")
                continue
            self._warn_of_offset(case, facts)
            return sample
        raise InputError(f"{self.desc} data: expected at least one usable case, found {len(self.data)} and none usable")

    def _warn_of_offset(self, case: dict[str, Any], facts: Facts) -> None:
        """Print one warning, for the first case of this process that does not seem to be in HU."""
        found = facts.get("outside_window")
        if found is not None and not self.warned and is_shifted(found):
            self.warned = True
            for line in describe_window({case["case"]: found}, self.desc):
                print(line)
