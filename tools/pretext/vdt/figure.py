"""Figure of the variable dimension transform: images, slices of their volumes, and predicted classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from tools.utils import figures

TOP_K = 3  # classes per image


def draw_predictions(
    images: torch.Tensor,
    volumes: torch.Tensor,
    labels: torch.Tensor,
    probabilities: torch.Tensor,
    classes: Sequence[str],
    rows: int = 6,
) -> Figure:
    """Plot one image per row: colour image, slices of its volume, and the most probable classes.

    Args:
        images: (B, 3, H, W).
        volumes: (B, 1, D, H, W).
        labels: (B,), true classes.
        probabilities: (B, classes), predicted probabilities.
        classes: class names.
        rows: maximum number of rows.
    """
    shown = range(min(rows, len(images)))
    figure = Figure(figsize=(1.8 + 1.6 * volumes.shape[2] + 2.4, 1.75 * len(shown) + 0.4))
    widths = [1, volumes.shape[2], 1.4]
    for index, line in zip(shown, figure.subplots(len(shown), 3, squeeze=False, width_ratios=widths), strict=True):
        figures.show(line[0], figures.plane(images[index]), (0, 255))
        slices = np.concatenate([figures.plane(plane[None]) for plane in volumes[index, 0]], axis=1)
        figures.show(line[1], slices, color=figures.BLUE)
        top = probabilities[index].topk(min(TOP_K, len(classes)))
        colors = [figures.GREEN if i == labels[index] else figures.GREY for i in top.indices.tolist()]
        line[2].barh(range(len(colors)), top.values.tolist(), color=colors)
        line[2].set_yticks(range(len(colors)), [classes[i] for i in top.indices.tolist()], fontsize=7)
        line[2].set_xlim(0, 1)
        line[2].invert_yaxis()
        line[2].spines[["top", "right"]].set_visible(False)
        line[2].tick_params(axis="x", labelsize=6)
        line[0].set_ylabel(classes[int(labels[index])], fontsize=8)
    for axes, title in zip(figure.axes[:3], ("image", "slices of the volume", "predicted probability"), strict=True):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure
