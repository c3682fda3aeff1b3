"""Back ends of the cache in memory, and on the device in half precision."""

from __future__ import annotations

from typing import Any

import torch

from tools.data.cache.disk import Entry, OnDisk
from tools.data.cache.samples import CompactSample, Facts, Transform, compact, detach_storage, read_case


class InMemory:
    """Back end that stores samples in memory.

    Args:
        transform: deterministic transform of one case.
        earlier: disk cache of an earlier run, from which existing cases are read.
    """

    def __init__(self, transform: Transform, earlier: OnDisk | None = None) -> None:
        self.transform = transform
        self.earlier = earlier

    def prepare(self, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
        """Return the sample of a case, with plain contiguous tensors, and its facts; see `read_case`."""
        entry = None if self.earlier is None else self.earlier.find(case)
        if entry is not None:
            return self.load(entry), entry.facts
        sample, facts = read_case(self.transform, case)
        return detach_storage(sample), facts

    def load(self, entry: Entry) -> dict[str, Any]:
        """Read a sample from the disk cache."""
        content = self.earlier.load(entry.file, mapped=False)
        return CompactSample(content["sample"], content["dtypes"]).restore(content["sample"])

    def store(self, sample: dict[str, Any]) -> Any:
        """Store a sample of `prepare`; return the stored object."""
        return sample


class OnDevice(InMemory):
    """Back end that stores images on a device.

    Args:
        transform: deterministic transform of one case.
        device: device of the images. "cuda" without index becomes the current device of the calling thread, since new
            threads have device 0 as their current device.
        earlier: disk cache of an earlier run, from which existing cases are read.
    """

    def __init__(self, transform: Transform, device: torch.device, earlier: OnDisk | None = None) -> None:
        super().__init__(transform, earlier)
        current = device.type == "cuda" and device.index is None
        self.device = torch.device("cuda", torch.cuda.current_device()) if current else device

    def store(self, sample: dict[str, Any]) -> CompactSample:
        """Move the images of a sample to the device."""
        small = compact(sample)
        images = {key: small.sample[key].to(self.device) for key in small.dtypes}
        return CompactSample(small.sample | images, small.dtypes)
