"""Figure of the jigsaw task: the shuffled patches, and the order that the network predicts."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from tools.pretext.patch_grid import PatchGrid
from tools.utils import figures


def draw_puzzles(
    images: torch.Tensor,
    patches: torch.Tensor,
    labels: torch.Tensor,
    orders: torch.Tensor,
    probabilities: torch.Tensor,
    permutations: torch.Tensor,
    grid: PatchGrid,
    rows: int = 4,
) -> Figure:
    """Draw one puzzle per row.

    Args:
        images: (B, C, *spatial).
        patches: (B, cells, C, *patch), in raster order.
        labels: (B, V), the right permutation.
        orders: (B, V, cells), patches in the order shown.
        probabilities: (B, V, classes), predicted probabilities.
        permutations: (classes, cells).
        grid: the cells.
        rows: number of puzzles.
    """
    puzzles = [(i, v) for v in range(labels.shape[1]) for i in range(len(images))][:rows]
    layers = grid.cells[2] if len(grid.cells) == 3 else 1
    figure = Figure(figsize=(2.2 * (1 + 2 * layers), 2.5 * len(puzzles)))
    panels = figure.subplots(len(puzzles), 3, squeeze=False, width_ratios=[1, layers, layers])
    for line, (i, v) in zip(panels, puzzles, strict=True):
        figures.show(line[0], figures.plane(images[i]), orientation=figures.orientation_of(range(images.ndim - 2)))
        shown = patches[i, orders[i, v]]
        figures.show(line[1], mosaic(shown, grid), color=figures.BLUE)
        answer, truth = int(probabilities[i, v].argmax()), int(labels[i, v])
        color = figures.GREEN if answer == truth else figures.RED
        figures.show(line[2], mosaic(put_back(shown, permutations[answer]), grid), color=color)
        line[2].set_xlabel(f"order {answer} ({probabilities[i, v, answer]:.0%}), it was {truth}", fontsize=8)
    titles = ["image", "patches as shown", "as the network puts them back"]
    titles[1] += ", one layer beside the other" if layers > 1 else ""
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def put_back(shown: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Undo an order: patch ``order[i]`` was shown in place i; both (cells, ...) and (cells,)."""
    return shown[order.argsort()]


def mosaic(patches: torch.Tensor, grid: PatchGrid) -> np.ndarray:
    """Lay patches (cells, C, *patch) out in their cells, as `figures.plane` shows them, layers side by side."""
    orientation = figures.orientation_of(range(len(grid.cells)))
    pieces = [np.asarray(figures.plane(patch)) for patch in patches]
    low, high = min(piece.min() for piece in pieces), max(piece.max() for piece in pieces)
    border = [(1, 1), (1, 1)] + [(0, 0)] * (pieces[0].ndim - 2)
    framed = [np.pad(piece, border, constant_values=high) for piece in pieces]
    cells = np.arange(grid.num_cells).reshape(*grid.cells[:2], -1)
    layers = []
    for layer in range(cells.shape[2]):
        places = cells[..., layer] if orientation is None else orientation.display(cells[..., layer])
        lines = [np.concatenate([framed[cell] for cell in line], axis=1) for line in places]
        layers.append(np.concatenate(lines, axis=0))
    gap = np.full((layers[0].shape[0], 4, *layers[0].shape[2:]), low)
    return np.concatenate([part for layer in layers for part in (layer, gap)][:-1], axis=1)
