"""A regular grid of cells over an image and the patches cut from them, for 2D and 3D alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from monai.utils import ensure_tuple_rep

from tools.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of an image lie.

    Neighbouring cells start `stride` voxels apart and share `overlap` voxels; a patch is `jitter` voxels smaller
    than its cell and may lie anywhere in it, so that neighbouring patches have a random gap.

    Args:
        image_size: edge lengths of the image, in voxels.
        cells: number of cells along each axis.
        jitter: cell edge minus patch edge, in voxels.
        overlap: voxels shared by neighbouring cells.

    Raises:
        InputError: when no patch of at least one voxel fits.
    """

    image_size: tuple[int, ...]
    cells: tuple[int, ...]
    jitter: int = 0
    overlap: int = 0

    @classmethod
    def build(
        cls, image_size: Sequence[int], cells: int | Sequence[int], jitter: int = 0, overlap: int = 0
    ) -> PatchGrid:
        """Make a grid from configuration values; one number stands for every axis."""
        size = tuple(int(s) for s in image_size)
        return cls(size, ensure_tuple_rep(cells, len(size)), int(jitter), int(overlap))

    def __post_init__(self) -> None:
        """Refuse a grid without room for its patches."""
        if self.jitter < 0 or self.overlap < 0 or min(self.patch_size) < 1 or min(self.stride) < 1:
            raise InputError(
                f"roi_size {list(self.image_size)} with grid {list(self.cells)}, jitter {self.jitter} and overlap "
                f"{self.overlap} leaves patches of {list(self.patch_size)} voxels; expected at least 1 along each axis"
            )

    @property
    def stride(self) -> tuple[int, ...]:
        """Distance between the starts of neighbouring cells, in voxels."""
        return tuple((s - self.overlap) // n for s, n in zip(self.image_size, self.cells, strict=True))

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Edge lengths of a patch, in voxels."""
        return tuple(s + self.overlap - self.jitter for s in self.stride)

    @property
    def num_cells(self) -> int:
        """Number of cells in the grid."""
        return prod(self.cells)

    def permute(self, axes: Sequence[int]) -> PatchGrid:
        """Return the grid of the image with its spatial axes permuted like `torch.permute`."""
        size, cells = (tuple(values[a] for a in axes) for values in (self.image_size, self.cells))
        return PatchGrid(size, cells, self.jitter, self.overlap)

    def cell_corners(self) -> torch.Tensor:
        """First voxel of every cell, in raster order: (cells, spatial dims), int64."""
        lines = [torch.arange(n) * s for n, s in zip(self.cells, self.stride, strict=True)]
        return torch.cartesian_prod(*lines).reshape(self.num_cells, -1)

    def patch_corners(self, batch_size: int, generator: torch.Generator | None) -> torch.Tensor:
        """First voxel of every patch: (B, cells, spatial dims), int64.

        Args:
            batch_size: number of images B.
            generator: draws each patch's place in its cell, uniformly; None centres the patches.
        """
        shape = (batch_size, self.num_cells, len(self.image_size))
        if generator is None:
            inside = torch.full(shape, self.jitter // 2)
        else:
            inside = torch.randint(self.jitter + 1, shape, generator=generator)
        return self.cell_corners() + inside


def cut_patches(images: torch.Tensor, corners: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Cut patches out of images: one read and one write of the voxels they cover, no interpolation.

    Args:
        images: (B, C, *spatial).
        corners: (B, N, spatial dims), first voxel of each patch, int64.
        size: edge lengths of a patch.

    Returns:
        (B, N, C, *size).
    """
    windows = images
    for axis, edge in enumerate(size):
        windows = windows.unfold(2 + axis, edge, 1)
    sample = torch.arange(len(images), device=images.device)[:, None]
    starts = corners.to(images.device, non_blocking=True).unbind(-1)
    return windows[(sample, slice(None), *starts)]
