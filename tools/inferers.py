"""Encode a whole scan, patch by patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from tools.pretext.grid import cut_patches


class PatchEmbedder(Inferer):
    """Embed the patches of a regular grid that covers the whole image; nothing is padded.

    The last patch along an axis ends at the image's last voxel, so it may overlap its neighbour more than the others.

    Args:
        patch_size: edge lengths of a patch, in voxels: those the encoder was pretrained on.
        stride: distance between neighbouring patches; default half a patch.
        batch_size: patches encoded at once.
    """

    def __init__(self, patch_size: Sequence[int], stride: Sequence[int] | None = None, batch_size: int = 64) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.stride = tuple(stride) if stride else tuple(max(p // 2, 1) for p in self.patch_size)
        self.batch_size = batch_size

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
            inputs: (B, C, *spatial), no axis shorter than a patch.
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
            network(
                cut_patches(images, chunk.expand(len(images), -1, -1), self.patch_size).flatten(0, 1), *args, **kwargs
            )
            .flatten(2)
            .mean(-1)
            .unflatten(0, (len(images), len(chunk)))
            for chunk in corners.split(max(self.batch_size // len(images), 1))
        ]
        return torch.cat(embeddings, 1).movedim(1, -1).unflatten(-1, [len(line) for line in lines])
