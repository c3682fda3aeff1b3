"""Grid of patches over a 2D or 3D image: positions, extraction and standardisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from monai.utils import ensure_tuple_rep

from tools.utils.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """Regular grid of cells with one patch per cell.

    Neighbouring cells start `stride` voxels apart and share `cell_overlap` voxels. A patch is `gap` + `jitter` voxels
    smaller than its cell and is shifted in it by up to `jitter` voxels. Without overlap, neighbouring patches are
    therefore `gap` to `gap` + 2 · `jitter` voxels apart.

    Args:
        image_size: edge lengths of the image, in voxels.
        cells: number of cells along each axis.
        jitter: largest random shift of a patch in its cell, in voxels.
        cell_overlap: voxels shared by neighbouring cells.
        gap: smallest distance between the patches of neighbouring cells without overlap, in voxels.

    Raises:
        InputError: if a patch would be smaller than one voxel.
    """

    image_size: tuple[int, ...]
    cells: tuple[int, ...]
    jitter: int = 0
    cell_overlap: int = 0
    gap: int = 0

    @classmethod
    def build(
        cls, image_size: Sequence[int], cells: int | Sequence[int], jitter: int = 0, cell_overlap: int = 0, gap: int = 0
    ) -> PatchGrid:
        """Build a grid from configuration values; a single number of cells applies to every axis."""
        size = tuple(int(s) for s in image_size)
        return cls(size, ensure_tuple_rep(cells, len(size)), int(jitter), int(cell_overlap), int(gap))

    def __post_init__(self) -> None:
        """Check that patches have at least one voxel along each axis."""
        lowest = min(self.jitter, self.cell_overlap, self.gap)
        if lowest < 0 or min(self.patch_size) < 1 or min(self.stride) < 1:
            named = {"jitter": self.jitter, "cell_overlap": self.cell_overlap, "gap": self.gap}
            raise InputError(
                f"roi_size {list(self.image_size)} with grid {list(self.cells)} and "
                f"{', '.join(f'{name} {value}' for name, value in named.items() if value)} leaves patches of "
                f"{list(self.patch_size)} voxels; expected at least 1 along each axis"
            )

    @property
    def stride(self) -> tuple[int, ...]:
        """Distance between the starts of neighbouring cells, in voxels."""
        return tuple((s - self.cell_overlap) // n for s, n in zip(self.image_size, self.cells, strict=True))

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Edge lengths of a patch, in voxels."""
        return tuple(s + self.cell_overlap - self.gap - self.jitter for s in self.stride)

    @property
    def num_cells(self) -> int:
        """Number of cells in the grid."""
        return prod(self.cells)

    def permute(self, axes: Sequence[int]) -> PatchGrid:
        """Return the grid of the image with its spatial axes permuted like `torch.permute`."""
        size, cells = (tuple(values[a] for a in axes) for values in (self.image_size, self.cells))
        return PatchGrid(size, cells, self.jitter, self.cell_overlap, self.gap)

    def cell_corners(self) -> torch.Tensor:
        """Return the first voxel of every cell, in raster order: (cells, spatial dims), int64."""
        lines = [torch.arange(n) * s for n, s in zip(self.cells, self.stride, strict=True)]
        return torch.cartesian_prod(*lines).reshape(self.num_cells, -1)

    def patch_corners(self, batch_size: int, generator: torch.Generator | None) -> torch.Tensor:
        """Return the first voxel of every patch: (B, cells, spatial dims), int64.

        Args:
            batch_size: number of images B.
            generator: random generator of the uniform position of each patch in its cell; None centres the patches.
        """
        shape = (batch_size, self.num_cells, len(self.image_size))
        if generator is None:
            inside = torch.full(shape, self.jitter // 2)
        else:
            inside = torch.randint(self.jitter + 1, shape, generator=generator)
        return self.cell_corners() + self.gap // 2 + inside


def extract_patches(
    images: torch.Tensor, corners: torch.Tensor, size: Sequence[int], steps: Sequence[int] | None = None
) -> torch.Tensor:
    """Extract patches from images, without interpolation.

    Args:
        images: (B, C, *spatial).
        corners: (B, N, spatial dims), first voxel of each patch, int64.
        size: edge lengths of a patch.
        steps: distance between sampled voxels along each axis; default 1.

    Returns:
        (B, N, C, *size).
    """
    steps = steps or [1] * len(size)
    windows = images
    for axis, (edge, step) in enumerate(zip(size, steps, strict=True), 2):
        windows = windows.unfold(axis, (edge - 1) * step + 1, 1)
    windows = windows[(..., *(slice(None, None, step) for step in steps))]
    sample = torch.arange(len(images), device=images.device)[:, None]
    return windows[(sample, slice(None), *corners.to(images.device, non_blocking=True).unbind(-1))]


def has_content(images: torch.Tensor, corners: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Compute the mask of non-constant patches from about four voxels along each axis: (B, N), bool.

    This can miss a small structure in an empty patch, but takes about a hundredth of the time of reading all voxels.

    Args:
        images: (B, C, *spatial).
        corners: (B, N, spatial dims), first voxel of each patch.
        size: edge lengths of a patch.
    """
    steps = [max(1, edge // 4) for edge in size]
    sampled = [(edge - 1) // step + 1 for edge, step in zip(size, steps, strict=True)]
    return non_constant(extract_patches(images, corners, sampled, steps))


def non_constant(patches: torch.Tensor) -> torch.Tensor:
    """Compute the mask of patches (B, N, C, *size) with more than one value in any channel: (B, N), bool."""
    flat = patches.flatten(3)
    return (flat.amin(-1) < flat.amax(-1)).any(-1)  # torch.aminmax along a dim is ten times slower on the CPU


def standardise(patches: torch.Tensor) -> torch.Tensor:
    """Standardise every channel of every patch to mean 0 and standard deviation 1.

    A constant channel becomes exactly 0, because rounding residues would reveal its original intensity.

    Args:
        patches: (B, N, C, *spatial).
    """
    flat = patches.flatten(3).float().contiguous()
    images, groups = len(flat), prod(flat.shape[1:3])  # group norm is faster than layer norm on the CPU
    scores, mean, inverse = torch.native_group_norm(flat, None, None, images, groups, flat.shape[-1], groups, 0.0)
    varying = (
        inverse * mean.abs() < 1e5
    )  # false for constant channels, where this is NaN, infinite or a rounding residue
    if not varying.is_cpu or not varying.all():  # on the CPU the test needs no synchronisation and avoids the fill
        scores = scores.masked_fill(~varying.reshape(*flat.shape[:3], 1), 0.0)
    return scores.to(patches.dtype).unflatten(3, patches.shape[3:])
