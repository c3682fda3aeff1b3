"""What tells whether two cases are the same scan, whatever their files are called."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform

from tools.data.cache.dataset import map_cases


class HashVoxelsd(MapTransform):
    """Add under "hashes" the SHA-256 of every channel's shape and float32 voxels (pixels), keys one after another.

    Constant channels, which many cases share, have none.

    For volumes, after ``Orientationd(axcodes="RAS")`` it does not depend on the file format and the stored orientation.

    Args:
        keys: keys of tensors (C, *spatial).
        name: key the hashes are added under.
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
    num_workers: int = 2,
    part: str = "test",
) -> list[dict[str, Any]]:
    """Read cases up to where they are hashed; give them with their "hashes", as cards hold these.

    Args:
        cases: as `find_cases` gives them.
        preprocessing: transforms with a `HashVoxelsd` among them; those after it are not run.
        skip_bad: print and leave out the cases that fail, instead of raising.
        num_workers: threads that read.
        part: what they are, in messages.

    Raises:
        InputError: see `map_cases`.
    """
    last = next(i for i, one in enumerate(preprocessing.transforms) if isinstance(one, HashVoxelsd))
    reading = preprocessing.transforms[: last + 1]

    def read(case: dict[str, Any]) -> list[str]:
        sample = dict(case)
        for transform in reading:
            sample = transform(sample)
        return sample["hashes"]

    found = map_cases(cases, read, f"reading {part} cases", part, skip_bad, num_workers)
    return [case | {"hashes": hashes} for case, hashes in found]
