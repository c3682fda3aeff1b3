"""Pretext task of relative patch location: the direction from one patch to another.

Doersch et al., ICCV 2015; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from matplotlib.figure import Figure

from tools.pretext.classification import Classification
from tools.pretext.patch_grid import PatchGrid, cut_patches, has_content, standardise
from tools.pretext.rpl.figure import draw_locations
from tools.pretext.task import Params
from tools.utils.errors import InputError


class RelativePatchLocation(Classification):
    """Cut an anchor patch and some of its 26 (in 2D: 8) neighbours; the target is the direction of each neighbour.

    The image is a random crop, so the absolute position of a patch has no information; with more than three cells along
    an axis the anchor moves too. Patches never touch (`gap`), lie at a random place in their cells (`jitter`) and are
    standardised one by one, so neither a continued edge nor a brightness ramp reveals the direction. Constant patches
    are replaced by other neighbours, unless all patches of the image are constant.

    Args:
        roi_size: edge lengths of the images, in voxels.
        grid: number of cells along each axis, or one number for all; at least 3.
        gap: smallest distance of neighbouring patches, in voxels.
        jitter: largest random shift of a patch in its cell, in voxels; in validation patches are centred.
        views_per_volume: neighbours V per image.
        seed: seed of all random parameters.

    Raises:
        InputError: when the grid has fewer than three cells along an axis or leaves no room for the patches.
    """

    harder = "a finer --grid, a larger --gap or --jitter"

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
        self.offsets = (self.directions * torch.tensor(cells.stride())).sum(-1)  # from a cell to its neighbours
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
        """Cut the anchor and the first V neighbours with content in the order drawn; no other patch is read.

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
        shown = _pick(corners, anchor, anchor + offsets[targets])
        if not images.is_cpu or not has_content(images, shown, self.patch_size).all():  # a test is free on the CPU
            content = has_content(images, corners, self.patch_size)
            targets, valid = self._with_content(content, anchor, order, offsets)
            shown = _pick(corners, anchor, anchor + offsets[targets])
            targets = targets.masked_fill(~valid, -1)
        return standardise(cut_patches(images, shown, self.patch_size)), targets

    def _with_content(
        self, content: torch.Tensor, anchor: torch.Tensor, order: torch.Tensor, offsets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Directions of the first V neighbours, those with content before others, and which are valid: both (B, V)."""
        empty = ~content.gather(1, anchor + offsets[order])
        places = torch.arange(empty.shape[1], device=empty.device)
        place = (empty.long() * empty.shape[1] + places).argsort(1)[:, : self.views_per_volume]
        valid = (content.gather(1, anchor) & ~empty.gather(1, place)) | ~content.any(1, keepdim=True)
        return order.gather(1, place), valid

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw the true and the predicted direction of neighbours; `prediction` is (B, V, directions)."""
        patches, targets = self.apply(images, params)
        probabilities = prediction.float().softmax(-1)
        return draw_locations(images, patches, params, targets, probabilities, self.layout, self.directions)


def _pick(corners: torch.Tensor, *cells: torch.Tensor) -> torch.Tensor:
    """Corners (B, N, dims) of some cells of each image, which are (B, n) each and N together."""
    return corners.gather(1, torch.cat(cells, 1)[..., None].expand(-1, -1, corners.shape[-1]))
