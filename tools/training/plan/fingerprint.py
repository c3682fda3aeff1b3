"""Fingerprint of a data set: shapes, spacings, foreground and intensities of a sample of its volumes."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose, generate_spatial_bounding_box
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from tools.data.cache.pool import first_cause
from tools.transforms.intensity import foreground
from tools.utils.errors import InputError
from tools.utils.resources import ResourceError, raise_shortage

MAX_SAMPLED = 100  # volumes
MAX_PROCESSES = 16
VOXELS = 1000  # voxels of the foreground of each channel whose values are kept
PERCENTILES = (0.5, 50, 99.5)


class Volume(NamedTuple):
    """Properties of a volume in RAS orientation.

    Attributes:
        shape: number of voxels along each axis.
        spacing: in mm.
        foreground: edges of the box around the foreground, in voxels.
        values: values of evenly spaced voxels of the foreground of each channel.
    """

    shape: list[int]
    spacing: list[float]
    foreground: list[int]
    values: list[list[float]]


class Fingerprint(NamedTuple):
    """Properties of the sampled volumes of a data set.

    Attributes:
        cases: number of volumes of the data set.
        volumes: properties of the sampled volumes that can be read, by case.
        unreadable: reason by case for the other sampled volumes.
    """

    cases: int
    volumes: dict[str, Volume]
    unreadable: dict[str, str]

    @property
    def shapes(self) -> np.ndarray:
        """Number of voxels of each volume: (N, 3)."""
        return np.array([one.shape for one in self.volumes.values()])

    @property
    def spacings(self) -> np.ndarray:
        """Spacing of each volume in mm: (N, 3)."""
        return np.array([one.spacing for one in self.volumes.values()])

    def prepared_shapes(self, spacing: Sequence[float], margin: int = 4) -> np.ndarray:
        """Number of voxels after resampling and the crop to the foreground: (N, 3).

        Args:
            spacing: spacing of each axis in mm.
            margin: voxels around the foreground, after resampling.
        """
        scale = self.spacings / np.array(spacing)
        boxes = np.array([one.foreground for one in self.volumes.values()])
        return np.minimum(np.ceil(self.shapes * scale), np.ceil(boxes * scale) + 2 * margin).astype(int)

    def intensities(self) -> list[list[float]]:
        """`PERCENTILES` of the foreground of each channel, over all volumes."""
        channels = zip(*(one.values for one in self.volumes.values()), strict=True)
        return [np.percentile(np.concatenate(values), PERCENTILES).tolist() for values in channels]

    def summary(self) -> dict[str, Any]:
        """Values for JSON, without the values of voxels."""
        kept = ("shape", "spacing", "foreground")
        return {
            "cases": self.cases,
            "unreadable": self.unreadable,
            "intensities": self.intensities(),
            "volumes": {case: {key: getattr(one, key) for key in kept} for case, one in self.volumes.items()},
        }


def sample_cases(cases: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Draw up to `MAX_SAMPLED` cases, independent of the order of the cases."""
    ordered = sorted(cases, key=lambda case: case["case"])
    if len(ordered) <= MAX_SAMPLED:
        return ordered
    return sorted(random.Random(seed).sample(ordered, MAX_SAMPLED), key=lambda case: case["case"])


def read_fingerprint(cases: Sequence[dict[str, Any]], reading: Compose, seed: int = 0) -> Fingerprint:
    """Read a sample of the volumes of a data set in several processes.

    Args:
        cases: cases, see `find_cases`.
        reading: transforms that load, check and orient a case, see `tools.transforms.build_reading`.
        seed: seed of the sample.

    Raises:
        InputError: if no sampled volume can be read.
        ResourceError: if the machine lacks memory or another resource.
    """
    sampled = sample_cases(cases, seed)
    processes = min(len(os.sched_getaffinity(0)), MAX_PROCESSES, len(sampled))
    loader = DataLoader(
        _Volumes(sampled, reading),
        batch_size=None,
        num_workers=processes if processes > 1 else 0,
        collate_fn=_same,
        generator=torch.Generator(),  # leaves the global generator unchanged
    )
    volumes, unreadable = {}, {}
    for case, one in zip(sampled, tqdm(loader, desc="fingerprint", unit="case"), strict=True):
        if isinstance(one, ResourceError):
            raise one
        if isinstance(one, str):
            unreadable[case["case"]] = one
        else:
            volumes[case["case"]] = one
    if not volumes:
        name, reason = next(iter(unreadable.items()))
        raise InputError(f"plan: expected a scan that can be read, found none among {len(sampled)}; {name}: {reason}")
    return Fingerprint(len(cases), volumes, unreadable)


class _Volumes(Dataset):
    """Properties of cases, or the reason why they cannot be read."""

    def __init__(self, cases: Sequence[dict[str, Any]], reading: Compose) -> None:
        self.cases = cases
        self.reading = reading

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Volume | str | ResourceError:
        case = self.cases[index]
        try:
            return measure_volume(self.reading(dict(case))["image"])
        except Exception as error:
            try:
                raise_shortage(f"fingerprint of {case['case']}", error)
            except ResourceError as shortage:
                return ResourceError(str(shortage))  # without its causes, which cannot be sent to another process
            return first_cause(error)


def measure_volume(image: torch.Tensor) -> Volume:
    """Measure a volume (C, D, H, W), a `MetaTensor` in RAS orientation."""
    spacing = [float(edge) for edge in image.pixdim]
    voxels = image.as_tensor()
    mask = foreground(voxels)
    start, end = generate_spatial_bounding_box(mask, select_fn=lambda one: one)
    inside = [channel[where] for channel, where in zip(voxels, mask, strict=True)]
    values = [one[:: max(1, len(one) // VOXELS)].tolist() for one in inside]
    return Volume(list(voxels.shape[1:]), spacing, [int(b - a) for a, b in zip(start, end, strict=True)], values)


def _same(value: Any) -> Any:
    return value
