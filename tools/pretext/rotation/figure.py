"""The picture of the rotation task: images, turned, and turned back as the network says."""

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
    chances: torch.Tensor,
    turns: Sequence[Rotation90],
    rows: int = 5,
) -> Figure:
    """Draw one question per row; of volumes the middle slices across all three axes.

    Only the image itself is marked with the patient's sides.

    Args:
        cubes: (B, C, *cube).
        views: (B, V, C, *cube), turned.
        labels: (B, V), the right rotation.
        chances: (B, V, classes), what the network thinks.
        turns: the rotations.
        rows: number of questions.
    """
    asked = [(i, v) for v in range(labels.shape[1]) for i in range(len(cubes))][:rows]
    width = 3 if cubes.ndim == 5 else 1
    figure = Figure(figsize=(1.6 * 3 * width + 1, (1.6 if width == 3 else 2) * len(asked) + 0.4))
    panels = figure.subplots(len(asked), 3, squeeze=False)
    for line, (i, v) in zip(panels, asked, strict=True):
        answer, truth = int(chances[i, v].argmax()), int(labels[i, v])
        back = apply_turn(views[i, v], undo(turns[answer]))
        limits = figures.intensity_limits(figures.planes(cubes[i]))
        figures.show(line[0], figures.planes(cubes[i]), limits)
        figures.mark_planes(line[0], cubes.ndim - 2)
        figures.show(line[1], figures.planes(views[i, v]), limits, figures.BLUE)
        figures.show(line[2], figures.planes(back), limits, figures.GREEN if answer == truth else figures.RED)
        line[1].set_xlabel(f"turned: {turns[truth].name}", fontsize=8)
        line[2].set_xlabel(f"answer: {turns[answer].name} ({chances[i, v, answer]:.0%})", fontsize=8)
    for axes, title in zip(panels[0], ("image", "as shown", "turned back\nas the network says"), strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure
