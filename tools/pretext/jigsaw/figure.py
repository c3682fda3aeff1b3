"""Figure of the jigsaw task: shuffled patches and the predicted permutation."""

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
    """Plot one shuffled image per row.

    Args:
        images: (B, C, *spatial).
        patches: (B, cells, C, *patch), in raster order.
        labels: (B, V), index of the true permutation.
        orders: (B, V, cells), patch indices in shuffled order.
        probabilities: (B, V, classes), predicted probabilities.
        permutations: (classes, cells).
        grid: grid of the patches.
        rows: maximum number of rows.
    """
    views = [(i, v) for v in range(labels.shape[1]) for i in range(len(images))][:rows]
    layers = grid.cells[2] if len(grid.cells) == 3 else 1
    figure = Figure(figsize=(2.2 * (1 + 2 * layers), 2.5 * len(views)))
    panels = figure.subplots(len(views), 3, squeeze=False, width_ratios=[1, layers, layers])
    for line, (i, v) in zip(panels, views, strict=True):
        figures.show(line[0], figures.plane(images[i]), orientation=figures.orientation_of(range(images.ndim - 2)))
        shuffled = patches[i, orders[i, v]]
        figures.show(line[1], mosaic(shuffled, grid), color=figures.BLUE)
        predicted, truth = int(probabilities[i, v].argmax()), int(labels[i, v])
        color = figures.GREEN if predicted == truth else figures.RED
        figures.show(line[2], mosaic(unshuffle(shuffled, permutations[predicted]), grid), color=color)
        line[2].set_xlabel(f"predicted {predicted} ({probabilities[i, v, predicted]:.0%}), true {truth}", fontsize=8)
    titles = ["image", "shuffled patches", "reordered by the predicted permutation"]
    titles[1] += ", layers side by side" if layers > 1 else ""
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def unshuffle(shuffled: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Undo a permutation of patches (cells, ...), where position i holds patch ``order[i]``."""
    return shuffled[order.argsort()]


def mosaic(patches: torch.Tensor, grid: PatchGrid) -> np.ndarray:
    """Arrange patches (cells, C, *patch) in their grid as a 2D image, with layers side by side."""
    orientation = figures.orientation_of(range(len(grid.cells)))
    planes = [np.asarray(figures.plane(patch)) for patch in patches]
    low, high = min(plane.min() for plane in planes), max(plane.max() for plane in planes)
    border = [(1, 1), (1, 1)] + [(0, 0)] * (planes[0].ndim - 2)
    framed = [np.pad(plane, border, constant_values=high) for plane in planes]
    cells = np.arange(grid.num_cells).reshape(*grid.cells[:2], -1)
    layers = []
    for layer in range(cells.shape[2]):
        positions = cells[..., layer] if orientation is None else orientation.display(cells[..., layer])
        lines = [np.concatenate([framed[cell] for cell in line], axis=1) for line in positions]
        layers.append(np.concatenate(lines, axis=0))
    gap = np.full((layers[0].shape[0], 4, *layers[0].shape[2:]), low)
    return np.concatenate([block for layer in layers for block in (layer, gap)][:-1], axis=1)
