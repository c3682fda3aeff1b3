"""Sliding-window inference of a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer

from tools.transforms.geometry import pad_by_reflection
from tools.transforms.slices import check_slice_axis, crop_edges


class PaddedInferer(Inferer):
    """Pad images smaller than a window as training does, and cut the scores back.

    MONAI's own padding by reflection fails where an axis is shorter than a third of the window.

    Args:
        inferer: computes scores on the grid of its input.
        size: edges of the window in the image; 1 never pads an axis.
    """

    def __init__(self, inferer: Inferer, size: Sequence[int]) -> None:
        super().__init__()
        self.inferer = inferer
        self.size = tuple(size)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return scores (B, channels, *spatial).

        Args:
            inputs: (B, C, *spatial).
            network: computes the scores of a window.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.
        """
        images = torch.Tensor.as_subclass(inputs, torch.Tensor)
        image_size = images.shape[2:]
        if any(2 * have < need for have, need in zip(image_size, self.size, strict=True)):
            print(
                f"warning: {tuple(image_size)} voxels are repeatedly reflected to fill the window {self.size}, more "
                "than twice as long; training refuses such images"
            )
        padded = pad_by_reflection(images.flatten(0, 1), self.size).unflatten(0, images.shape[:2])
        scores = self.inferer(padded, network, *args, **kwargs)
        corner = [(long - have) // 2 for long, have in zip(padded.shape[2:], image_size, strict=True)]
        return scores[(..., *(slice(c, c + have) for c, have in zip(corner, image_size, strict=True)))]


def build_window_inferer(
    roi_size: Sequence[int], slice_axis: int | None = None, overlap: float = 0.25, batch_size: int = 4
) -> Inferer:
    """Build MONAI's sliding window, blended by Gaussian weights; over every slice given `slice_axis`.

    An image smaller than the window is padded by reflection, as in training, and its scores are cut back.

    Args:
        roi_size: edges of the window, those of the crops the network was trained on.
        slice_axis: axis of volumes that the slices of a 2D network lie across; None for a 3D network.
        overlap: share of a window that the next one covers again.
        batch_size: windows, or slices' windows, computed at once.
    """
    options = {"roi_size": list(roi_size), "sw_batch_size": batch_size, "overlap": overlap, "mode": "gaussian"}
    flat = check_slice_axis(slice_axis) is not None
    inferer = SliceInferer(spatial_dim=slice_axis, **options) if flat else SlidingWindowInferer(**options)
    return PaddedInferer(inferer, crop_edges(roi_size, slice_axis))
