"""Sliding-window inferer that returns an embedding per patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from tools.pretext.patch_grid import extract_patches, standardise
from tools.transforms.slices import check_slice_axis
from tools.utils.errors import InputError


class PatchEmbedder(Inferer):
    """Inferer that embeds the patches of a regular grid over the whole image, without padding.

    The last patch along an axis ends at the last voxel of the image, so its overlap with the previous patch can be
    larger than the overlap of other patches.

    Args:
        patch_size: edge lengths of a patch, in voxels, as in pretraining.
        stride: distance between neighbouring patches, in voxels; default half a patch.
        batch_size: number of patches per forward pass.
        slice_axis: spatial axis of volumes along which a 2D encoder processes slice by slice; `patch_size` and `stride`
            are then 2D.
        standardised: standardise every patch to mean 0 and standard deviation 1, if this was done in pretraining.

    Attributes:
        patch_size: edge lengths of a patch in the image, 1 along `slice_axis`.
        stride: distance between neighbouring patches, 1 along `slice_axis`.

    Raises:
        InputError: if `slice_axis` is not None, 0, 1 or 2, or `patch_size` or `stride` is not 2D with a `slice_axis`.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        stride: Sequence[int] | None = None,
        batch_size: int = 64,
        slice_axis: int | None = None,
        standardised: bool = False,
    ) -> None:
        super().__init__()
        self.standardised = standardised
        self.patch_size = tuple(patch_size)
        self.stride = tuple(stride) if stride else tuple(max(p // 2, 1) for p in self.patch_size)
        self.batch_size = batch_size
        self.slice_axis = check_slice_axis(slice_axis)
        if slice_axis is not None:
            if len(self.patch_size) != 2 or len(self.stride) != 2:
                raise InputError(
                    f"slice_axis: expected None, or 2 edges in patch_size and stride, found {slice_axis} with "
                    f"{list(self.patch_size)} and {list(self.stride)}"
                )
            self.patch_size, self.stride = (
                (*edges[:slice_axis], 1, *edges[slice_axis:]) for edges in (self.patch_size, self.stride)
            )

    def starts(self, image_size: Sequence[int]) -> list[torch.Tensor]:
        """Compute the first voxel of the patches along each axis of an image."""
        ends = [s - p for s, p in zip(image_size, self.patch_size, strict=True)]
        return [
            torch.unique(torch.cat([torch.arange(0, end + 1, step), torch.tensor([end])]))
            for end, step in zip(ends, self.stride, strict=True)
        ]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Compute a map of embeddings.

        Args:
            inputs: (B, C, *spatial), at least as large as a patch; volumes (B, C, D, H, W) with a `slice_axis`.
            network: encoder; the embedding of a patch is the global average of its last feature map.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Returns:
            (B, channels, *grid), one position per patch.
        """
        images = torch.Tensor.as_subclass(inputs, torch.Tensor)
        starts = self.starts(images.shape[2:])
        corners = torch.cartesian_prod(*starts)
        embeddings = [
            network(self._patches(images, chunk), *args, **kwargs)
            .flatten(2)
            .mean(-1)
            .unflatten(0, (len(images), len(chunk)))
            for chunk in corners.split(max(self.batch_size // len(images), 1))
        ]
        return torch.cat(embeddings, 1).movedim(1, -1).unflatten(-1, [len(start) for start in starts])

    def _patches(self, images: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
        """Extract patches (B · N, C, *patch) at corners (N, spatial dims)."""
        patches = extract_patches(images, corners.expand(len(images), -1, -1), self.patch_size)
        patches = (standardise(patches) if self.standardised else patches).flatten(0, 1)
        return patches if self.slice_axis is None else patches.squeeze(2 + self.slice_axis)
