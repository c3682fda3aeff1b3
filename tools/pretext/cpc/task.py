"""Contrastive predictive coding pretext task: prediction of the patches ahead along an axis.

van den Oord et al., arXiv 1807.03748; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from tools.pretext.cpc.figure import draw_predictions
from tools.pretext.cpc.loss import candidate_top1_correct
from tools.pretext.patch_grid import PatchGrid, extract_patches, non_constant
from tools.pretext.task import Params, PretextTask
from tools.utils.errors import InputError


class CPC(PretextTask):
    """Pretext task that predicts patches ahead of a context; the target is one of 1 + K candidate patches.

    The direction of prediction is a spatial axis that is drawn per step. The axes are permuted cyclically, which
    preserves handedness, so that this axis comes first; the cells along it are the *rows*. Predictions are ordered by
    step, then by target row, then by column.

    Negatives are sampled without replacement from the other cells of the same volume and from all cells of the other
    volumes of the global batch. Constant patches are indistinguishable, so they are excluded as targets, unless all
    patches of the volume are constant.

    Args:
        roi_size: edge lengths of the images, in voxels.
        grid: number of cells along each axis, or one number for all.
        jitter: cell edge minus patch edge, in voxels; the position of a patch in its cell is random in training and
            central in validation.
        cell_overlap: voxels shared by neighbouring cells; rows that overlap the context are not predicted.
        prediction_steps: number of rows ahead that are predicted.
        context_rows: number of rows of a context, for the figure.
        negatives_same_volume: number of negatives from the same volume.
        negatives_other_volumes: number of negatives from the other volumes of the batch.
        seed: seed of all random parameters.

    Raises:
        InputError: if the grid has too few rows or cells for the predictions or negatives.
    """

    controls = ("constant", "white noise")
    difficulty_advice = "more --negatives_same_volume, more --prediction_steps, or --jitter"

    def __init__(
        self,
        roi_size: Sequence[int],
        grid: int | Sequence[int] = 4,
        jitter: int = 0,
        cell_overlap: int = 0,
        prediction_steps: int = 2,
        context_rows: int = 2,
        negatives_same_volume: int = 31,
        negatives_other_volumes: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, seed)
        self.grid, self.jitter, self.cell_overlap = grid, jitter, cell_overlap
        self.layout = PatchGrid.build(roi_size, grid, jitter, cell_overlap)
        self.patch_size = self.layout.patch_size
        self.prediction_steps, self.context_rows = prediction_steps, context_rows
        first = 1 + -(-cell_overlap // min(self.layout.stride))  # first row without voxels of the context
        self.steps = tuple(range(first, first + prediction_steps))
        self.negatives_same_volume, self.negatives_other_volumes = negatives_same_volume, negatives_other_volumes
        negatives = negatives_same_volume + negatives_other_volumes
        self.chance = 1 / (1 + negatives)
        if prediction_steps < 1 or min(self.layout.cells) <= self.steps[-1]:
            raise InputError(
                f"prediction_steps {prediction_steps} (rows {list(self.steps)} ahead) needs a grid of at least "
                f"{self.steps[-1] + 1} cells along each axis, found {list(self.layout.cells)}"
            )
        if not 0 <= negatives_same_volume < self.layout.num_cells or negatives < 1:
            raise InputError(
                f"negatives_same_volume: expected 0 to {self.layout.num_cells - 1} (the other cells of the grid) and "
                f"at least one negative in total, found {negatives_same_volume} and {negatives_other_volumes}"
            )

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the axis (1,), patch corners (B, cells, dims) and candidates (B, Q, 1 + K) of a global batch.

        The corners refer to the permuted image. The index of a candidate is volume · cells + cell; the positive comes
        first.
        """
        axis = torch.randint(len(self.roi_size), (1,), generator=generator)
        grid = self.layout.permute(self._order(axis))
        corners = grid.patch_corners(batch_size, generator if self.training else None)
        return {"axis": axis, "corners": corners, "candidates": self._candidates(grid, batch_size, generator)}

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Extract the patches and look up the candidates.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Patches (B, rows, *columns, C, *patch) and candidates (B, Q, 1 + K), whose first index is -1 for invalid
            predictions.
        """
        grid, patches = self._patches(images, params)
        candidates = params["candidates"].to(images.device, non_blocking=True, copy=True)
        empty = ~non_constant(patches)
        invalid = empty & ~empty.all(1, keepdim=True)
        positive = candidates[..., 0]
        candidates[..., 0] = positive.masked_fill(invalid.gather(1, positive % grid.num_cells), -1)
        return patches.unflatten(1, grid.cells), candidates

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute whether the positive has the highest score; `prediction` is the similarity (B, Q, M)."""
        return candidate_top1_correct(prediction, targets)

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot predictions with their highest-scoring candidates; `prediction` is the similarity (B, Q, M)."""
        grid, patches = self._patches(images, params)
        permuted = images.permute(0, 1, *(2 + a for a in self._order(params["axis"])))
        targets, steps = self._targets(grid), self._steps(grid)
        return draw_predictions(permuted, patches, params, prediction, targets, steps, grid, self.context_rows)

    def _patches(self, images: torch.Tensor, params: Params) -> tuple[PatchGrid, torch.Tensor]:
        order = self._order(params["axis"])
        grid = self.layout.permute(order)
        permuted = images.permute(0, 1, *(2 + a for a in order))
        return grid, extract_patches(permuted, params["corners"], grid.patch_size)

    def _order(self, axis: torch.Tensor) -> list[int]:
        """Return the spatial axes in cyclic order, the axis of prediction first."""
        dims = len(self.roi_size)
        return [(int(axis) + i) % dims for i in range(dims)]

    def _targets(self, grid: PatchGrid) -> torch.Tensor:
        """Return the target cell of each prediction: (Q,)."""
        cells = torch.arange(grid.num_cells).reshape(grid.cells)
        return torch.cat([cells[step:].flatten() for step in self.steps])

    def _steps(self, grid: PatchGrid) -> torch.Tensor:
        """Return the number of rows from context to target of each prediction: (Q,)."""
        columns = grid.num_cells // grid.cells[0]
        counts = [(grid.cells[0] - step) * columns for step in self.steps]
        return torch.tensor(self.steps).repeat_interleave(torch.tensor(counts))

    def _candidates(self, grid: PatchGrid, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        targets, cells = self._targets(grid), grid.num_cells
        same, other = self.negatives_same_volume, self.negatives_other_volumes
        if other > (batch_size - 1) * cells:
            raise InputError(
                f"negatives_other_volumes: expected at most {(batch_size - 1) * cells}, the cells of the other "
                f"{batch_size - 1} volumes of a batch of {batch_size}, found {other}"
            )
        volume = torch.arange(batch_size)[:, None, None]
        shape = (batch_size, len(targets))
        priority = torch.rand(*shape, cells, generator=generator)
        priority.scatter_(-1, targets.expand(shape)[..., None], -1.0)
        own = priority.topk(same).indices + volume * cells
        # the cells of other volumes are sampled once per volume, for all of its predictions
        foreign = _sample_without_replacement(batch_size, other, (batch_size - 1) * cells, generator)[:, None]
        foreign = foreign + (foreign >= volume * cells) * cells
        positive = (targets + volume[..., 0] * cells)[..., None]
        return torch.cat([positive, own, foreign.expand(*shape, other)], -1)


def _sample_without_replacement(rows: int, count: int, high: int, generator: torch.Generator) -> torch.Tensor:
    """Sample distinct integers from [0, high) uniformly, in time independent of `high`: (rows, count), int64.

    Floyd's algorithm (Bentley and Floyd, Communications of the ACM 1987).
    """
    bounds = torch.arange(high - count, high) + 1
    numbers = (torch.rand(rows, count, generator=generator, dtype=torch.float64) * bounds).long()
    sampled: list[dict[int, None]] = [{} for _ in range(rows)]  # faster than tensors for so few numbers
    for row, chosen in zip(numbers.tolist(), sampled, strict=True):
        for last, number in enumerate(row, high - count):
            chosen[last if number in chosen else number] = None
    return torch.tensor([list(chosen) for chosen in sampled], dtype=torch.int64)
