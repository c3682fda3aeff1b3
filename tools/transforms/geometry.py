"""Resampling to a spacing, and padding by reflection to the crop size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Spacingd, SpatialPad
from monai.utils import ensure_tuple_rep

from tools.data.formats.sources import MAX_VOXELS, check_declared_size
from tools.transforms.checks import sample_name
from tools.utils.errors import InputError

MAX_RATIO = (
    100  # maximum ratio of voxel sizes before and after resampling; larger ratios suggest a wrong unit of length
)


def pad_by_reflection(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Pad an image symmetrically by reflection, repeatedly if one reflection is not sufficient.

    Args:
        image: image (C, *spatial), a `MetaTensor` or a plain tensor.
        size: minimum size of the result. Axes of a single voxel are padded with its value.
    """
    while any(length < target for length, target in zip(image.shape[1:], size, strict=True)):
        pairs = list(zip(image.shape[1:], size, strict=True))
        if any(length == 1 < target for length, target in pairs):
            pad = SpatialPad([target if length == 1 else length for length, target in pairs], mode="edge")
        else:  # the maximum of a single reflection
            pad = SpatialPad([min(target, 3 * length - 2) for length, target in pairs], mode="reflect")
        image = pad(image)
    return image


def check_spacing(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    """Return the spacing (mm) of the three axes of RAS, from one number or three.

    Raises:
        InputError: unless there are one or three numbers above 0.
    """
    edges = tuple(spacing) if isinstance(spacing, Sequence) else (spacing,) * 3
    if len(edges) != 3 or not all(isinstance(edge, int | float) and edge > 0 for edge in edges):
        raise InputError(f"spacing: expected one number above 0 or three, in mm, found {spacing!r}")
    return edges


class CheckedSpacingd(Spacingd):
    """MONAI's `Spacingd` with a check of the spacing.

    Other keys are not passed on, since MONAI 1.6 treats all keys that start with ``image_`` as metadata, including
    strings of MONAI Label.

    Args:
        keys: keys of `MetaTensor` (C, D, H, W).
        pixdim: voxel size in mm.
        max_voxels: largest number of voxels afterwards, over all channels.
        **options: further arguments of `Spacingd`.

    Raises:
        InputError: if the spacing differs from the target by a factor above `MAX_RATIO`, or the result is too large.
    """

    def __init__(
        self, keys: KeysCollection, pixdim: Sequence[float], max_voxels: int = MAX_VOXELS, **options: Any
    ) -> None:
        super().__init__(keys, pixdim, **options)
        self.max_voxels = max_voxels

    def __call__(self, data: Mapping[Hashable, Any], *args: Any, **options: Any) -> dict[Hashable, Any]:
        """Resample one sample."""
        for key in self.keys:
            name, have, wanted = sample_name(data, key), data[key].pixdim.tolist(), self.spacing_transform.pixdim
            self._check_ratio(name, have)
            edges = [math.ceil(n * a / b) for n, a, b in zip(data[key].shape[1:], have, wanted.tolist(), strict=True)]
            self._check_size(name, [*edges, len(data[key])])
        return {**data, **super().__call__({key: data[key] for key in self.keys}, *args, **options)}

    def _check_ratio(self, name: str, found: Sequence[float]) -> None:
        target = self.spacing_transform.pixdim
        if any(not new / MAX_RATIO <= old <= new * MAX_RATIO for old, new in zip(found, target, strict=False)):
            before, after = (" x ".join(f"{edge:.3g}" for edge in spacing) for spacing in (found, target.tolist()))
            raise InputError(
                f"{name}: expected a spacing that can be resampled to {after} mm, found {before} mm; correct the unit "
                "of length in the file, or change --spacing"
            )

    def _check_size(self, name: str, size: Sequence[int]) -> None:
        try:
            check_declared_size(name, size, self.max_voxels)
        except InputError as error:
            spacing = " x ".join(f"{edge:.3g}" for edge in self.spacing_transform.pixdim.tolist())
            raise InputError(f"{error}, or a coarser --spacing than {spacing} mm") from error


class _Messages:
    """Key for messages, and whether the warning was printed. No ``__dict__``, so cache hashes exclude it."""

    __slots__ = ("key", "printed", "scalable")

    def __init__(self, key: str, scalable: bool) -> None:
        self.key = key
        self.scalable = scalable
        self.printed = False

    def print_once(self, line: str) -> None:
        if not self.printed:
            self.printed = True
            print(line)


class PadToRoid(MapTransform):
    """Pad images that are smaller than the crop by reflection, with a warning for the first one.

    Args:
        keys: keys of tensors (C, *spatial).
        roi_size: size of the crop in voxels or pixels, or one number for all axes; axes with size 1 are not padded.
        key: configuration key of `roi_size` for messages.
        scalable: whether messages recommend the configuration key `spacing` or `resize_shorter_edge`.

    Raises:
        InputError: if an axis is shorter than half the crop, the minimum for a symmetric reflection.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        roi_size: Sequence[int] | int = 64,
        key: str = "roi_size",
        scalable: bool = True,
    ) -> None:
        super().__init__(keys)
        self.roi_size = roi_size if isinstance(roi_size, int) else tuple(int(size) for size in roi_size)
        self._pad = SpatialPad(self.roi_size, mode="reflect")
        self._messages = _Messages(key, scalable)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad one sample where needed."""
        sample = dict(data)
        for key in self.keys:
            size = tuple(sample[key].shape[1:])
            roi_size = ensure_tuple_rep(self.roi_size, len(size))
            unit, scale = (
                ("voxels", "finer --spacing") if len(size) == 3 else ("pixels", "larger --resize_shorter_edge")
            )
            target = f"{self._messages.key} {roi_size}"
            pairs = list(zip(size, roi_size, strict=True))
            if any(2 * length < minimum for length, minimum in pairs):
                remedy = f"{scale} or a smaller" if self._messages.scalable else "smaller"
                raise InputError(
                    f"{sample_name(sample, key)}: expected at least half of {target} {unit}, found {size}; "
                    f"use a {remedy} --{self._messages.key}"
                )
            if any(length < minimum for length, minimum in pairs):
                self._messages.print_once(
                    f"warning: {sample_name(sample, key)}: {size} {unit} are padded by reflection to {target}; "
                    "further warnings are suppressed"
                )
                sample[key] = self._pad(sample[key])
        return sample
