"""Conversion of RGB images to volumes: the channel axis becomes the depth axis (Zhang et al., arXiv 2201.01426)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from tools.utils.errors import InputError

RGB_CHANNELS = 3


def check_depth(depth: int) -> None:
    """Check the number of slices of a converted image.

    Raises:
        InputError: if `depth` is even or below 3.
    """
    if depth < RGB_CHANNELS or depth % 2 == 0:
        raise InputError(f"depth: expected an odd number of slices of at least {RGB_CHANNELS}, found {depth}")


def channels_to_depth(
    images: torch.Tensor, depth: int = RGB_CHANNELS, orders: torch.Tensor | None = None
) -> torch.Tensor:
    """Convert RGB images to volumes of one channel.

    With three slices, slice d is channel ``orders[b, d]``; without `orders` the result is a view. With more slices, the
    channels are the first, middle and last slice, and those in between are interpolated linearly.

    Args:
        images: (B, 3, H, W).
        depth: odd number of slices D.
        orders: channel order of each image, (B, 3), int64; None for red, green, blue.

    Returns:
        (B, 1, D, H, W).
    """
    if orders is not None:
        sample = torch.arange(len(images), device=images.device)[:, None]
        images = images[sample, orders.to(images.device, non_blocking=True)]
    volumes = images[:, None]
    if depth == RGB_CHANNELS:
        return volumes
    return F.interpolate(volumes, (depth, *volumes.shape[3:]), mode="trilinear", align_corners=True)


def depth_to_channels(volumes: torch.Tensor, orders: torch.Tensor | None = None) -> torch.Tensor:
    """Convert volumes (B, 1, D, H, W) back to images (B, 3, H, W), the exact inverse of `channels_to_depth`."""
    images = volumes[:, 0, :: (volumes.shape[2] - 1) // 2]
    if orders is None:
        return images
    sample = torch.arange(len(images), device=images.device)[:, None]
    return images[sample, orders.argsort(1).to(images.device)]


class ChannelsToDepthd(MapTransform, InvertibleTransform):
    """Convert images to volumes (1, D, H, W), see `channels_to_depth`; greyscale images are repeated three times.

    Args:
        keys: keys of images (C, H, W) with 1 or 3 channels.
        depth: odd number of slices D, see `channels_to_depth`.

    Raises:
        InputError: if `depth` is even or below 3, or an image does not have 1 or 3 channels.
    """

    def __init__(self, keys: KeysCollection = "image", depth: int = RGB_CHANNELS) -> None:
        super().__init__(keys)
        check_depth(depth)
        self.depth = depth

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert the images of a sample."""
        sample = dict(data)
        for key in self.keys:
            image = sample[key]
            if image.ndim != 3 or len(image) not in (1, RGB_CHANNELS):
                raise InputError(f"{key}: expected an image of 1 or 3 channels, found shape {list(image.shape)}")
            plain = torch.Tensor.as_subclass(image, torch.Tensor)
            voxels = channels_to_depth(plain.expand(RGB_CHANNELS, -1, -1)[None].float(), self.depth)[0]
            sample[key] = self.push_transform(_like(voxels, image), extra_info={"channels": len(image)})
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert the volumes of a sample back to images."""
        sample = dict(data)
        for key in self.keys:
            volume = _like(sample[key], sample[key])  # a copy, since pop_transform changes the applied operations
            channels = self.pop_transform(volume)["extra_info"]["channels"]
            plain = torch.Tensor.as_subclass(volume, torch.Tensor)
            sample[key] = _like(depth_to_channels(plain[None])[0, :channels], volume)
        return sample


def _like(voxels: torch.Tensor, image: torch.Tensor) -> MetaTensor:
    image = image if isinstance(image, MetaTensor) else MetaTensor(image)
    plain = torch.Tensor.as_subclass(voxels, torch.Tensor)
    return MetaTensor(plain, meta=dict(image.meta), applied_operations=list(image.applied_operations))
