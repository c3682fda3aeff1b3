"""Samples of preprocessed cases: plain tensors, and images in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor

Transform = Callable[[dict[str, Any]], dict[str, Any]]
Facts = dict[str, Any]
#: keys of a sample that describe the case and are not part of a batch
FACTS = ("hashes", "label_hashes", "outside_window")


class CompactSample(NamedTuple):
    """Sample on a device.

    Attributes:
        sample: images in their smallest type, see `to_smallest_dtype`; other values are unchanged and on the host.
        dtypes: original type of each image.
    """

    sample: dict[str, Any]
    dtypes: dict[str, torch.dtype]

    def restore(self, sample: Any) -> Any:
        """Convert the images of a crop of this sample, or of a list of crops, to their original type."""
        if isinstance(sample, list):
            return [self.restore(one) for one in sample]
        return sample | {key: sample[key].to(kind) for key, kind in self.dtypes.items() if key in sample}


def read_case(transform: Transform, case: dict[str, Any]) -> tuple[dict[str, Any], Facts]:
    """Return the transformed sample with plain tensors, which may be views, and its `FACTS`."""
    sample = dict(transform(dict(case)))
    facts = {key: sample.pop(key) for key in FACTS if key in sample}
    return {key: _plain(key, value) for key, value in sample.items() if value is not None}, facts


def detach_storage(value: Any) -> Any:
    """Make all tensors of nested dictionaries and lists contiguous and independent of larger storage."""
    if isinstance(value, dict):
        return {key: detach_storage(one) for key, one in value.items()}
    if isinstance(value, list):
        return [detach_storage(one) for one in value]
    if not isinstance(value, torch.Tensor):
        return value
    value = value.contiguous()
    return value.clone() if value.untyped_storage().nbytes() > value.numel() * value.element_size() else value


def is_image(value: Any) -> bool:
    """Return whether a value of a sample is an image, unlike boxes and types, which are stored exactly."""
    return isinstance(value, torch.Tensor) and value.ndim > 2


def compact(sample: dict[str, Any]) -> CompactSample:
    """Convert the images of a sample to their smallest type."""
    images = {key: value for key, value in sample.items() if is_image(value)}
    small = {key: to_smallest_dtype(value) for key, value in images.items()}
    return CompactSample(sample | small, {key: value.dtype for key, value in images.items()})


def to_smallest_dtype(image: torch.Tensor) -> torch.Tensor:
    """Convert floats to half precision, unless they overflow, and integers to the smallest sufficient type.

    Other types and empty tensors are unchanged.
    """
    if image.is_floating_point():
        half = image.half()
        return half if half.isfinite().all() else image
    if image.dtype in (torch.bool, torch.uint8) or image.is_complex() or not image.numel():
        return image
    unsigned = image.dtype in (torch.uint16, torch.uint32, torch.uint64)  # torch does not support aminmax for them
    low, high = (int(value) for value in (image.long() if unsigned else image).aminmax())
    kinds = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return image.to(next(kind for kind in kinds if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max))


def _plain(key: str, value: Any) -> Any:
    """Convert a value to plain tensors, strings and numbers."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        return (value.as_tensor() if isinstance(value, MetaTensor) else value).detach()
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(one, str | torch.Tensor | np.ndarray) for one in value):
        return [_plain(key, one) for one in value]
    raise TypeError(
        f"sample key {key}: expected a tensor, string, number or list of these, found {type(value).__name__}"
    )
