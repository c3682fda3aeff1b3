"""Lift pictures to volumes: the colour axis becomes the depth axis (Zhang et al., arXiv 2201.01426)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from tools.utils.errors import InputError

COLOURS = 3


def check_depth(depth: int) -> None:
    """Refuse depths that colours do not fit.

    Raises:
        InputError: an even depth, or one below 3.
    """
    if depth < COLOURS or depth % 2 == 0:
        raise InputError(f"depth: expected an odd number of slices of at least {COLOURS}, found {depth}")


def channels_to_depth(pictures: torch.Tensor, depth: int = COLOURS, orders: torch.Tensor | None = None) -> torch.Tensor:
    """Make volumes of one channel from pictures of three.

    Slice d shows channel ``orders[b, d]``. With more than three slices the channels lie at the first, the middle and
    the last, and those between are interpolated linearly. With three nothing is copied unless channels change places.

    Args:
        pictures: (B, 3, H, W).
        depth: odd number of slices D.
        orders: order of the channels of each picture, (B, 3), int64; None for red, green, blue.

    Returns:
        (B, 1, D, H, W).
    """
    if orders is not None:
        image = torch.arange(len(pictures), device=pictures.device)[:, None]
        pictures = pictures[image, orders.to(pictures.device, non_blocking=True)]
    volumes = pictures[:, None]
    if depth == COLOURS:
        return volumes
    return F.interpolate(volumes, (depth, *volumes.shape[3:]), mode="trilinear", align_corners=True)


def depth_to_channels(volumes: torch.Tensor, orders: torch.Tensor | None = None) -> torch.Tensor:
    """Undo `channels_to_depth`: (B, 1, D, H, W) to (B, 3, H, W); the colours return exactly."""
    pictures = volumes[:, 0, :: (volumes.shape[2] - 1) // 2]
    if orders is None:
        return pictures
    image = torch.arange(len(pictures), device=pictures.device)[:, None]
    return pictures[image, orders.argsort(1).to(pictures.device)]


class ChannelsToDepthd(MapTransform, InvertibleTransform):
    """Make volumes (1, D, H, W) of pictures: of three channels red, green, blue one after the other; of one thrice it.

    Args:
        keys: keys of pictures (C, H, W).
        depth: odd number of slices D, see `channels_to_depth`.

    Raises:
        InputError: another depth; a picture with another number of channels.
    """

    def __init__(self, keys: KeysCollection = "image", depth: int = COLOURS) -> None:
        super().__init__(keys)
        check_depth(depth)
        self.depth = depth

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Lift the pictures of one sample."""
        sample = dict(data)
        for key in self.keys:
            picture = sample[key]
            if picture.ndim != 3 or len(picture) not in (1, COLOURS):
                raise InputError(f"{key}: expected a picture of 1 or 3 channels, found shape {list(picture.shape)}")
            plain = torch.Tensor.as_subclass(picture, torch.Tensor)
            voxels = channels_to_depth(plain.expand(COLOURS, -1, -1)[None].float(), self.depth)[0]
            sample[key] = self.push_transform(_like(voxels, picture), extra_info={"channels": len(picture)})
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the pictures back."""
        sample = dict(data)
        for key in self.keys:
            volume = _like(sample[key], sample[key])  # whose record of transforms may be changed
            channels = self.pop_transform(volume)["extra_info"]["channels"]
            plain = torch.Tensor.as_subclass(volume, torch.Tensor)
            sample[key] = _like(depth_to_channels(plain[None])[0, :channels], volume)
        return sample


def _like(voxels: torch.Tensor, image: torch.Tensor) -> MetaTensor:
    image = image if isinstance(image, MetaTensor) else MetaTensor(image)
    plain = torch.Tensor.as_subclass(voxels, torch.Tensor)
    return MetaTensor(plain, meta=dict(image.meta), applied_operations=list(image.applied_operations))
