"""Voxel size, and edges that leave room for a crop."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Spacingd, SpatialPad
from monai.utils import ensure_tuple_rep

from tools.transforms.checks import sample_name
from tools.utils.errors import InputError

MAX_RATIO = 100  # between the voxel edges of a file and those wanted; beyond it the file's unit is not to be believed


def pad_by_reflection(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Pad an image on both sides by reflection, repeated for an axis that one reflection cannot fill.

    Args:
        image: (C, *spatial), a `MetaTensor` or a plain tensor.
        size: smallest edges of the result. Axes that are as long are not padded; a single voxel is repeated.
    """
    while any(have < need for have, need in zip(image.shape[1:], size, strict=True)):
        pairs = list(zip(image.shape[1:], size, strict=True))
        if any(have == 1 < need for have, need in pairs):
            pad = SpatialPad([need if have == 1 else have for have, need in pairs], mode="edge")
        else:  # as much as one reflection gives, which ends where the next one begins
            pad = SpatialPad([min(need, 3 * have - 2) for have, need in pairs], mode="reflect")
        image = pad(image)
    return image


def voxel_edges(spacing: float | Sequence[float]) -> tuple[float, float, float]:
    """Edges of a voxel along right, anterior and superior, of one number for all of them or three.

    Raises:
        InputError: other numbers.
    """
    edges = tuple(spacing) if isinstance(spacing, Sequence) else (spacing,) * 3
    if len(edges) != 3 or not all(isinstance(edge, int | float) and edge > 0 for edge in edges):
        raise InputError(f"spacing: expected one number above 0 or three, in mm, found {spacing!r}")
    return edges


class Resampled(Spacingd):
    """MONAI's `Spacingd`, shown its own keys only.

    MONAI 1.6 takes every sample key that begins with ``image_`` for a dictionary of metadata, also the texts that
    MONAI Label puts there.

    Raises:
        InputError: voxels more than `MAX_RATIO` times larger or smaller than wanted.
    """

    def __call__(self, data: Mapping[Hashable, Any], *args: Any, **options: Any) -> dict[Hashable, Any]:
        """Resample one sample."""
        for key in self.keys:
            self._check_ratio(sample_name(data, key), data[key].pixdim.tolist())
        return {**data, **super().__call__({key: data[key] for key in self.keys}, *args, **options)}

    def _check_ratio(self, name: str, found: Sequence[float]) -> None:
        wanted = self.spacing_transform.pixdim
        if any(not edge / MAX_RATIO <= have <= edge * MAX_RATIO for have, edge in zip(found, wanted, strict=False)):
            edges, target = (" x ".join(f"{edge:.3g}" for edge in spacing) for spacing in (found, wanted.tolist()))
            raise InputError(
                f"{name}: expected voxels that can be resampled to {target} mm, found {edges} mm; correct the file's "
                "unit of length, or choose another --spacing"
            )


class _Messages:
    """Names of keys in messages, and a note printed once; without ``__dict__``, so no part of a cache's fingerprint."""

    __slots__ = ("key", "said", "scalable")

    def __init__(self, key: str, scalable: bool) -> None:
        self.key = key
        self.scalable = scalable
        self.said = False

    def say(self, line: str) -> None:
        if not self.said:
            self.said = True
            print(line)


class PadToRoid(MapTransform):
    """Pad images smaller than the crop by reflection, never by zeros; the first one is told in a line.

    Reflection always fits, since an axis has at least half the size wanted and grows on both sides.

    Args:
        keys: keys of tensors (C, *spatial).
        roi_size: size of the crop in voxels or pixels, one number for all axes; 1 never pads an axis.
        key: of the configuration, that holds `roi_size`; for messages.
        scalable: whether the configuration can scale images otherwise, by `spacing` or `resize_shorter_edge`.

    Raises:
        InputError: an axis is shorter than half the crop.
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
            wanted = f"{self._messages.key} {roi_size}"
            pairs = list(zip(size, roi_size, strict=True))
            if any(2 * have < need for have, need in pairs):
                remedy = f"{scale} or a smaller" if self._messages.scalable else "smaller"
                raise InputError(
                    f"{sample_name(sample, key)}: expected at least half of {wanted} {unit}, found {size}; "
                    f"use a {remedy} --{self._messages.key}"
                )
            if any(have < need for have, need in pairs):
                self._messages.say(
                    f"warning: {sample_name(sample, key)}: {size} {unit} padded by reflection to {wanted}; "
                    "later ones are not told"
                )
                sample[key] = self._pad(sample[key])
        return sample
