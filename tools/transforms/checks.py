"""What every image is asked before it is used, and how the answer is worded."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor

from tools.utils.errors import InputError


def sample_name(sample: Mapping[Hashable, Any], key: Hashable) -> str:
    """What to call a sample in a message: its file, else its case."""
    meta = sample[key].meta if isinstance(sample[key], MetaTensor) else {}
    return str(meta.get("filename_or_obj") or sample.get("case", key))


def check_values(name: str, image: torch.Tensor) -> None:
    """Refuse NaN and infinite values; say which channels are constant.

    Args:
        name: what the image is called in messages.
        image: (C, *spatial).

    Raises:
        InputError: with their number, for the first channel that has any.
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
