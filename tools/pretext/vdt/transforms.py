"""Conversion of RGB images to volumes: the channel axis becomes the depth axis (Zhang et al., arXiv 2201.01426)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

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
