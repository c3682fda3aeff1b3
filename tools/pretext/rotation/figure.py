"""Figure of the rotation task: image, rotated image, and inverse of the predicted rotation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from tools.pretext.rotations import Rotation90, inverse, rotate
from tools.utils import figures


def draw_rotations(
    cubes: torch.Tensor,
    views: torch.Tensor,
    labels: torch.Tensor,
    probabilities: torch.Tensor,
    rotations: Sequence[Rotation90],
    rows: int = 5,
) -> Figure:
    """Plot one view per row; volumes are shown as their three orthogonal middle slices.

    Only the unrotated image has orientation labels.

    Args:
        cubes: (B, C, *cube).
        views: (B, V, C, *cube), rotated.
        labels: (B, V), index of the true rotation.
        probabilities: (B, V, classes), predicted probabilities.
        rotations: rotations by class.
        rows: maximum number of rows.
    """
    shown = [(i, v) for v in range(labels.shape[1]) for i in range(len(cubes))][:rows]
    width = 3 if cubes.ndim == 5 else 1
    figure = Figure(figsize=(1.6 * 3 * width + 1, (1.6 if width == 3 else 2) * len(shown) + 0.4))
    panels = figure.subplots(len(shown), 3, squeeze=False)
    for line, (i, v) in zip(panels, shown, strict=True):
        predicted, truth = int(probabilities[i, v].argmax()), int(labels[i, v])
        back = rotate(views[i, v], inverse(rotations[predicted]))
        limits = figures.intensity_limits(figures.planes(cubes[i]))
        figures.show(line[0], figures.planes(cubes[i]), limits)
        figures.mark_planes(line[0], cubes.ndim - 2)
        figures.show(line[1], figures.planes(views[i, v]), limits, figures.BLUE)
        figures.show(line[2], figures.planes(back), limits, figures.GREEN if predicted == truth else figures.RED)
        line[1].set_xlabel(f"true: {rotations[truth].name}", fontsize=8)
        line[2].set_xlabel(f"predicted: {rotations[predicted].name} ({probabilities[i, v, predicted]:.0%})", fontsize=8)
    for axes, title in zip(panels[0], ("image", "rotated", "predicted rotation\nundone"), strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure
