"""Voxel hashes to detect identical images in files with different names."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform

from tools.data.cache.pool import map_cases


class HashVoxelsd(MapTransform):
    """Add a list with the SHA-256 of each channel (shape and float32 values) to the sample.

    Constant channels have no hash, since many cases can have equal ones. For volumes after
    ``Orientationd(axcodes="RAS")``, the hashes do not depend on file format and orientation.

    Args:
        keys: keys of tensors (C, *spatial).
        name: key of the hashes.
    """

    def __init__(self, keys: KeysCollection = "image", name: str = "hashes") -> None:
        super().__init__(keys)
        self.name = name

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Hash one sample."""
        channels = [channel for key in self.keys for channel in np.asarray(data[key].cpu(), dtype="<f4")]
        return {**data, self.name: [_sha256(channel) for channel in channels if channel.min() < channel.max()]}


def _sha256(channel: np.ndarray) -> str:
    digest = hashlib.sha256(repr(channel.shape).encode())
    digest.update(np.ascontiguousarray(channel))
    return digest.hexdigest()


def hash_cases(
    cases: Sequence[dict[str, Any]],
    preprocessing: Compose,
    skip_bad: bool = False,
    workers: int | None = 0,
    part: str = "test",
) -> list[dict[str, Any]]:
    """Read cases and return them with "hashes", as in encoder cards.

    Args:
        cases: cases, see `find_cases`.
        preprocessing: transforms including `HashVoxelsd`; the following transforms are not applied.
        skip_bad: whether cases that fail are excluded with a note, instead of an error.
        workers: number of processes, see `attempt_cases`.
        part: name of the data in messages.

    Raises:
        InputError: as `map_cases`.
    """
    last = next(i for i, one in enumerate(preprocessing.transforms) if isinstance(one, HashVoxelsd))
    reading = preprocessing.transforms[: last + 1]

    def read(case: dict[str, Any]) -> list[str]:
        sample = dict(case)
        for transform in reading:
            sample = transform(sample)
        return sample["hashes"]

    found = map_cases(cases, read, f"reading {part} cases", part, skip_bad, workers)
    return [case | {"hashes": hashes} for case, hashes in found]
