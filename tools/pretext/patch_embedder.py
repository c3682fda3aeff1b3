"""Embeddings of the patches of a whole scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from tools.pretext.patch_grid import cut_patches, standardise
from tools.transforms.slices import check_slice_axis
from tools.utils.errors import InputError


class PatchEmbedder(Inferer):
    """Embed the patches of a regular grid that covers the whole image; nothing is padded.

    The last patch along an axis ends at the image's last voxel, so it may overlap its neighbour more than the others.

    Args:
        patch_size: edge lengths of a patch, in voxels: those the encoder was pretrained on.
        stride: distance between neighbouring patches; default half a patch.
        batch_size: patches encoded at once.
        slice_axis: spatial axis of volumes whose every slice a 2D encoder is given; patches and strides are 2D then.
        standardised: bring every patch to mean 0 and standard deviation 1, for an encoder that was pretrained on such.

    Attributes:
        patch_size: edge lengths of a patch in the image, 1 along `slice_axis`.
        stride: likewise.

    Raises:
        InputError: `slice_axis` is not None, 0, 1 or 2, or goes with patches that are not 2D.
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

    def lines(self, image_size: Sequence[int]) -> list[torch.Tensor]:
        """First voxel of the patches along each axis of an image."""
        ends = [s - p for s, p in zip(image_size, self.patch_size, strict=True)]
        return [
            torch.unique(torch.cat([torch.arange(0, end + 1, step), torch.tensor([end])]))
            for end, step in zip(ends, self.stride, strict=True)
        ]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return a map of embeddings.

        Args:
            inputs: (B, C, *spatial), no axis shorter than a patch; volumes (B, C, D, H, W) with a `slice_axis`.
            network: encoder; the mean over space of its last map is a patch's embedding.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Returns:
            (B, channels, *grid), one position per patch.
        """
        images = torch.Tensor.as_subclass(inputs, torch.Tensor)
        lines = self.lines(images.shape[2:])
        corners = torch.cartesian_prod(*lines)
        embeddings = [
            network(self._patches(images, chunk), *args, **kwargs)
            .flatten(2)
            .mean(-1)
            .unflatten(0, (len(images), len(chunk)))
            for chunk in corners.split(max(self.batch_size // len(images), 1))
        ]
        return torch.cat(embeddings, 1).movedim(1, -1).unflatten(-1, [len(line) for line in lines])

    def _patches(self, images: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
        """Patches (B · N, C, *patch) of images at corners (N, spatial dims)."""
        patches = cut_patches(images, corners.expand(len(images), -1, -1), self.patch_size)
        patches = (standardise(patches) if self.standardised else patches).flatten(0, 1)
        return patches if self.slice_axis is None else patches.squeeze(2 + self.slice_axis)
