"""Figure of contrastive predictive coding: context, target, and highest-scoring candidates."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from tools.pretext.cpc.loss import candidate_scores
from tools.pretext.patch_grid import PatchGrid
from tools.utils import figures

TOP_K = 5


def draw_predictions(
    images: torch.Tensor,
    patches: torch.Tensor,
    params: dict[str, torch.Tensor],
    similarity: torch.Tensor,
    targets: torch.Tensor,
    steps: torch.Tensor,
    grid: PatchGrid,
    context_rows: int,
    rows: int = 5,
) -> Figure:
    """Plot one prediction per row.

    Args:
        images: (B, C, *spatial), permuted so that the first spatial axis is the direction of prediction.
        patches: (B, cells, C, *patch).
        params: from `tools.pretext.cpc.CPC.sample_params`.
        similarity: (B, Q, M) from the network; candidates of other processes are not shown.
        targets: (Q,), target cell of each prediction.
        steps: (Q,), number of rows ahead of the context.
        grid: permuted grid.
        context_rows: number of rows of a context, including its own.
        rows: number of predictions.
    """
    dims = len(grid.cells)
    orientation = figures.orientation_of([(int(params["axis"]) + i) % dims for i in range(dims)])
    figure = Figure(figsize=(1.7 * (TOP_K + 2) + 1, 1.9 * rows))
    axes = figure.subplots(rows, TOP_K + 2, squeeze=False, width_ratios=[1.6, *[1] * (TOP_K + 1)])
    chosen = _select_predictions(patches, targets, rows)
    for line, (volume, query) in zip(axes, chosen, strict=True):
        limits = figures.intensity_limits(figures.plane(images[volume]))
        cell, step = int(targets[query]), int(steps[query])
        _draw_context(
            line[0], images[volume], params["corners"][volume], cell, step, grid, context_rows, limits, orientation
        )
        figures.show(line[1], figures.plane(patches[volume, cell], orientation=orientation), limits, figures.ORANGE)
        candidates = params["candidates"][volume, query]
        scores = candidate_scores(similarity[volume, query].float(), candidates)[0].softmax(-1)
        line[1].set_xlabel(
            f"{scores[0]:.0%}, rank {int((scores > scores[0]).sum()) + 1} of {len(scores)}",
            fontsize=8,
        )
        _draw_candidates(line[2:], patches, candidates, scores, limits, orientation)
    axes[0, 0].set_title("image: context / target", fontsize=9)
    axes[0, 1].set_title("target patch", fontsize=9)
    axes[0, 2].set_title("candidates, highest score first", fontsize=9, loc="left")
    figure.tight_layout()
    return figure


def _select_predictions(patches: torch.Tensor, targets: torch.Tensor, rows: int) -> list[tuple[int, int]]:
    """Select (volume, prediction) pairs that are spread over volumes and have targets with high contrast."""
    contrast = patches.float().flatten(2).std(-1).cpu()[:, targets]
    chosen = []
    for row in range(rows):
        volume = row % len(patches)
        order = contrast[volume].argsort(descending=True)
        chosen.append((volume, int(order[(row // len(patches)) * 7 % len(order)])))
    return chosen


def _draw_context(
    axes: figures.Axes,
    image: torch.Tensor,
    corners: torch.Tensor,
    target: int,
    step: int,
    grid: PatchGrid,
    context_rows: int,
    limits: tuple[float, float],
    orientation: figures.Orientation | None,
) -> None:
    corner = corners[target]
    depth = int(corner[-1]) + grid.patch_size[-1] // 2 if len(grid.cells) == 3 else None
    figures.show(axes, figures.plane(image, depth, orientation), limits, orientation=orientation)
    size = grid.patch_size[:2]
    cells = torch.arange(grid.num_cells).reshape(grid.cells)
    position = (cells == target).nonzero()[0]
    layer = cells[..., int(position[-1])] if len(grid.cells) == 3 else cells
    apex, column = int(position[0]) - step, int(position[1])
    for back in range(context_rows):
        for aside in range(-back, back + 1):
            row, col = apex - back, column + aside
            if row >= 0 and 0 <= col < layer.shape[1]:
                first = corners[layer[row, col], :2].tolist()
                figures.draw_box(axes, first, size, figures.BLUE, orientation=orientation)
    figures.draw_box(axes, corner[:2].tolist(), size, figures.ORANGE, orientation=orientation)
    axes.set_ylabel(f"{step} ahead", fontsize=8)


def _draw_candidates(
    line: list[figures.Axes],
    patches: torch.Tensor,
    candidates: torch.Tensor,
    scores: torch.Tensor,
    limits: tuple[float, float],
    orientation: figures.Orientation | None,
) -> None:
    cells = patches.shape[1]
    drawable = [i for i in scores.argsort(descending=True).tolist() if candidates[i] < patches.shape[0] * cells]
    for axes, choice in zip(line, drawable, strict=False):
        source = int(candidates[choice])
        color = figures.GREEN if choice == 0 else figures.GREY
        patch = figures.plane(patches[source // cells, source % cells], orientation=orientation)
        figures.show(axes, patch, limits, color)
        own = source // cells == int(candidates[0]) // cells
        axes.set_xlabel(f"{scores[choice]:.0%} {'same image' if own else 'other image'}", fontsize=8)
