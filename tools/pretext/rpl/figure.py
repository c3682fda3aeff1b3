"""Figure of relative patch location: true and predicted direction of each patch."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from tools.pretext.patch_grid import PatchGrid
from tools.utils import figures


def draw_locations(
    images: torch.Tensor,
    patches: torch.Tensor,
    params: dict[str, torch.Tensor],
    targets: torch.Tensor,
    probabilities: torch.Tensor,
    grid: PatchGrid,
    directions: torch.Tensor,
    rows: int = 5,
) -> Figure:
    """Plot one neighbour per row.

    Args:
        images: (B, C, *spatial).
        patches: (B, 1 + V, C, *patch), the anchor first.
        params: of `tools.pretext.rpl.RelativePatchLocation.sample_params`.
        targets: (B, V), index of the true direction, -1 where invalid.
        probabilities: (B, V, directions), predicted probabilities.
        grid: grid of the patches.
        directions: (directions, dims), in cells.
        rows: maximum number of rows.
    """
    layers = range(-1, 2) if images.ndim == 5 else [0]
    shown = [(i, v) for v in range(targets.shape[1]) for i in range(len(images)) if targets[i, v] >= 0][:rows]
    figure = Figure(figsize=(2 * (2 + len(layers)), 2.2 * max(len(shown), 1)))
    panels = figure.subplots(max(len(shown), 1), 2 + len(layers), squeeze=False)
    for line, (i, v) in zip(panels, shown, strict=False):
        limits = figures.intensity_limits(figures.plane(images[i]))
        figures.show(line[0], figures.plane(patches[i, 0]), color=figures.BLUE)
        figures.show(line[1], figures.plane(patches[i, 1 + v]), color=figures.ORANGE)
        predicted, truth = int(probabilities[i, v].argmax()), int(targets[i, v])
        line[1].set_xlabel(f"true direction: {probabilities[i, v, truth]:.0%}", fontsize=8)
        for axes, layer in zip(line[2:], layers, strict=True):
            marks = [(directions[truth], figures.ORANGE), (torch.zeros_like(directions[0]), figures.BLUE)]
            marks.insert(0, (directions[predicted], figures.GREEN if predicted == truth else figures.RED))
            _draw_layer(axes, images[i], params["corners"][i], int(params["anchor"][i]), layer, marks, grid, limits)
    for axes, title in zip(panels[0], ("anchor", "neighbour"), strict=False):
        axes.set_title(title, fontsize=9)
    panels[0, 2].set_title("orange: true position\ngreen or red: predicted", fontsize=9, loc="left")
    figure.tight_layout()
    return figure


def _draw_layer(
    axes: figures.Axes,
    image: torch.Tensor,
    corners: torch.Tensor,
    anchor: int,
    layer: int,
    marks: list[tuple[torch.Tensor, str]],
    grid: PatchGrid,
    limits: tuple[float, float],
) -> None:
    """Draw the slice through a layer of cells, `layer` cells from the anchor, and mark cells in it."""
    cells = torch.arange(grid.num_cells).reshape(grid.cells)
    middle = (cells == anchor).nonzero()[0]
    volume = image.ndim == 4
    depth = None
    if volume:
        shown = cells[tuple(middle[:2])][middle[2] + layer]
        depth = int(corners[shown, 2]) + grid.patch_size[2] // 2
    orientation = figures.orientation_of(range(image.ndim - 1))
    figures.show(axes, figures.plane(image, depth), limits, orientation=orientation)
    for width, (direction, color) in zip((4.5, 2.0, 2.0), marks, strict=True):
        if not volume or int(direction[2]) == layer:
            corner = corners[cells[tuple(middle + direction)], :2].tolist()
            figures.draw_box(axes, corner, grid.patch_size[:2], color, width, orientation)
