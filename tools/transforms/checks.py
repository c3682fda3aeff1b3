"""Checks of image values, and names of samples in messages."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor

from tools.utils.errors import InputError


def sample_name(sample: Mapping[Hashable, Any], key: Hashable) -> str:
    """Return the name of a sample for messages: its file, or its case id if there is no file."""
    meta = sample[key].meta if isinstance(sample[key], MetaTensor) else {}
    return str(meta.get("filename_or_obj") or sample.get("case", key))


def check_values(name: str, image: torch.Tensor) -> None:
    """Check that all values are finite, and print a warning for constant channels.

    Args:
        name: name of the image in messages.
        image: image (C, *spatial).

    Raises:
        InputError: if a channel has NaN or infinite values.
    """
    for index, channel in enumerate(image):
        if not torch.isfinite(channel).all():
            nan, infinite = int(channel.isnan().sum()), int(channel.isinf().sum())
            what = "voxels" if channel.ndim == 3 else "pixels"
            raise InputError(
                f"{name}: expected finite {what}, found {nan} NaN and {infinite} infinite in channel {index}"
            )
        if channel.amin() == channel.amax():
            print(f"warning: {name}: channel {index} is constant ({float(channel.flatten()[0]):g})")
