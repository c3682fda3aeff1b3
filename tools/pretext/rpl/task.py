"""Relative patch location pretext task: classification of the direction from one patch to another.

Doersch et al., ICCV 2015; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from matplotlib.figure import Figure

from tools.pretext.classification import ClassificationTask
from tools.pretext.patch_grid import PatchGrid, extract_patches, has_content, standardise
from tools.pretext.rpl.figure import draw_locations
from tools.pretext.task import Params
from tools.utils.errors import InputError


class RelativePatchLocation(ClassificationTask):
    """Pretext task whose target is the direction from an anchor patch to some of its 26 (in 2D: 8) neighbours.

    The image is a random crop, so the position of a patch in it carries no information. With more than three cells
    along an axis, the anchor is chosen randomly as well. Patches are separated by a gap, shifted randomly in their
    cells (`jitter`) and standardised one by one, so neither continuous edges nor intensity ramps reveal the direction.
    Constant patches are replaced by other neighbours, unless all patches of the image are constant.

    Args:
        roi_size: edge lengths of the images, in voxels.
        grid: number of cells along each axis, or one number for all; at least 3.
        gap: smallest distance between neighbouring patches, in voxels.
        jitter: largest random shift of a patch in its cell, in voxels; in validation patches are centred.
        views_per_volume: number of neighbours V per image.
        seed: seed of all random parameters.

    Raises:
        InputError: if the grid has fewer than three cells along an axis, or the patches do not fit.
    """

    difficulty_advice = "a finer --grid, a larger --gap or --jitter"

    def __init__(
        self,
        roi_size: Sequence[int],
        grid: int | Sequence[int] = 3,
        gap: int = 1,
        jitter: int = 3,
        views_per_volume: int = 8,
        seed: int = 0,
    ) -> None:
        self.grid, self.gap, self.jitter = grid, gap, jitter
        self.layout = PatchGrid.build(roi_size, grid, jitter, gap=gap)
        self.directions = torch.tensor([d for d in product((-1, 0, 1), repeat=len(roi_size)) if any(d)])
        names = [" ".join(f"{step:+d}" if step else "0" for step in d) for d in self.directions.tolist()]
        super().__init__(roi_size, names, views_per_volume, seed)
        self.patch_size = self.layout.patch_size
        cells = torch.arange(self.layout.num_cells).reshape(self.layout.cells)
        self.anchors = cells[(slice(1, -1),) * cells.ndim].flatten()
        self.offsets = (self.directions * torch.tensor(cells.stride())).sum(
            -1
        )  # index difference of a cell and its neighbours
        if not len(self.anchors):
            raise InputError(f"grid: expected at least 3 cells along each axis, found {list(self.layout.cells)}")

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw patch corners (B, cells, dims), anchor cells (B, 1) and the order of directions (B, 26) of a batch."""
        return {
            "corners": self.layout.patch_corners(batch_size, generator if self.training else None),
            "anchor": self.anchors[torch.randint(len(self.anchors), (batch_size, 1), generator=generator)],
            "order": self.class_orders(batch_size, generator),
        }

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Extract the anchor and the first V non-constant neighbours in random order.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Patches (B, 1 + V, C, *patch), the anchor first, and directions (B, V), -1 where invalid.
        """
        corners, anchor, order = (
            params[name].to(images.device, non_blocking=True) for name in ("corners", "anchor", "order")
        )
        offsets = self.offsets.to(images.device, non_blocking=True)
        targets = order[:, : self.views_per_volume].clone()
        selected = _select(corners, anchor, anchor + offsets[targets])
        # on the CPU the test needs no synchronisation
        if not images.is_cpu or not has_content(images, selected, self.patch_size).all():
            content = has_content(images, corners, self.patch_size)
            targets, valid = self._with_content(content, anchor, order, offsets)
            selected = _select(corners, anchor, anchor + offsets[targets])
            targets = targets.masked_fill(~valid, -1)
        return standardise(extract_patches(images, selected, self.patch_size)), targets

    def _with_content(
        self, content: torch.Tensor, anchor: torch.Tensor, order: torch.Tensor, offsets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the directions of V neighbours, non-constant ones first, and the mask of valid ones: both (B, V)."""
        empty = ~content.gather(1, anchor + offsets[order])
        rank = torch.arange(empty.shape[1], device=empty.device)
        index = (empty.long() * empty.shape[1] + rank).argsort(1)[:, : self.views_per_volume]
        valid = (content.gather(1, anchor) & ~empty.gather(1, index)) | ~content.any(1, keepdim=True)
        return order.gather(1, index), valid

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot the true and the predicted direction of neighbours; `prediction` is (B, V, directions)."""
        patches, targets = self.apply(images, params)
        probabilities = prediction.float().softmax(-1)
        return draw_locations(images, patches, params, targets, probabilities, self.layout, self.directions)


def _select(corners: torch.Tensor, *cells: torch.Tensor) -> torch.Tensor:
    """Return the corners (B, N, dims) of cells of each image, given as tensors (B, n) with N cells in total."""
    return corners.gather(1, torch.cat(cells, 1)[..., None].expand(-1, -1, corners.shape[-1]))
