"""Sliding-window inference of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer

from tools.transforms.geometry import pad_by_reflection
from tools.transforms.slices import check_slice_axis, volume_crop_size


class PaddedInferer(Inferer):
    """Inferer that pads images smaller than the window by reflection, as in training, and crops the logits.

    MONAI's own reflection padding fails if an axis is shorter than a third of the window.

    Args:
        inferer: computes logits on the grid of its input.
        size: window size in voxels; 1 for an axis that is never padded.
    """

    def __init__(self, inferer: Inferer, size: Sequence[int]) -> None:
        super().__init__()
        self.inferer = inferer
        self.size = tuple(size)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return logits (B, channels, *spatial).

        Args:
            inputs: (B, C, *spatial).
            network: computes the logits of a window.
            args: positional arguments passed to the network.
            kwargs: keyword arguments passed to the network.
        """
        images = torch.Tensor.as_subclass(inputs, torch.Tensor)
        image_size = images.shape[2:]
        if any(2 * have < need for have, need in zip(image_size, self.size, strict=True)):
            print(
                f"warning: expected images of at least half the window {self.size}, found {tuple(image_size)} voxels; "
                "the image is reflected repeatedly, unlike in training"
            )
        padded = pad_by_reflection(images.flatten(0, 1), self.size).unflatten(0, images.shape[:2])
        logits = self.inferer(padded, network, *args, **kwargs)
        corner = [(long - have) // 2 for long, have in zip(padded.shape[2:], image_size, strict=True)]
        return logits[(..., *(slice(c, c + have) for c, have in zip(corner, image_size, strict=True)))]


def build_sliding_window_inferer(
    roi_size: Sequence[int], slice_axis: int | None = None, overlap: float = 0.25, sw_batch_size: int = 4
) -> Inferer:
    """Build MONAI's sliding-window inferer with Gaussian weights, for volumes or for the slices of volumes.

    Images smaller than the window are padded by reflection, as in training.

    Args:
        roi_size: window size, equal to the crop size of training.
        slice_axis: axis perpendicular to the slices of a 2D network; None for a 3D network.
        overlap: fraction by which neighbouring windows overlap.
        sw_batch_size: number of windows per forward pass.
    """
    options = {"roi_size": list(roi_size), "sw_batch_size": sw_batch_size, "overlap": overlap, "mode": "gaussian"}
    flat = check_slice_axis(slice_axis) is not None
    inferer = SliceInferer(spatial_dim=slice_axis, **options) if flat else SlidingWindowInferer(**options)
    return PaddedInferer(inferer, volume_crop_size(roi_size, slice_axis))
