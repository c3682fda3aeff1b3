"""Figure of the rotation task: images, rotated images, and the rotation undone as predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from tools.pretext.rotations import Rotation90, apply_turn, undo
from tools.utils import figures


def draw_turns(
    cubes: torch.Tensor,
    views: torch.Tensor,
    labels: torch.Tensor,
    probabilities: torch.Tensor,
    turns: Sequence[Rotation90],
    rows: int = 5,
) -> Figure:
    """Draw one view per row; of volumes the middle slices across all three axes.

    Only the image itself is marked with the sides of the patient.

    Args:
        cubes: (B, C, *cube).
        views: (B, V, C, *cube), rotated.
        labels: (B, V), the right rotation.
        probabilities: (B, V, classes), predicted probabilities.
        turns: the rotations.
        rows: number of questions.
    """
    shown = [(i, v) for v in range(labels.shape[1]) for i in range(len(cubes))][:rows]
    width = 3 if cubes.ndim == 5 else 1
    figure = Figure(figsize=(1.6 * 3 * width + 1, (1.6 if width == 3 else 2) * len(shown) + 0.4))
    panels = figure.subplots(len(shown), 3, squeeze=False)
    for line, (i, v) in zip(panels, shown, strict=True):
        answer, truth = int(probabilities[i, v].argmax()), int(labels[i, v])
        back = apply_turn(views[i, v], undo(turns[answer]))
        limits = figures.intensity_limits(figures.planes(cubes[i]))
        figures.show(line[0], figures.planes(cubes[i]), limits)
        figures.mark_planes(line[0], cubes.ndim - 2)
        figures.show(line[1], figures.planes(views[i, v]), limits, figures.BLUE)
        figures.show(line[2], figures.planes(back), limits, figures.GREEN if answer == truth else figures.RED)
        line[1].set_xlabel(f"turned: {turns[truth].name}", fontsize=8)
        line[2].set_xlabel(f"answer: {turns[answer].name} ({probabilities[i, v, answer]:.0%})", fontsize=8)
    for axes, title in zip(panels[0], ("image", "as shown", "turned back\nas the network says"), strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure
