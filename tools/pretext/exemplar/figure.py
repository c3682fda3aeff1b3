"""Figure of the exemplar task: views of each image and their nearest neighbours in the embedding space."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from tools.utils import figures

TOP_K = 5


def draw_neighbours(images: torch.Tensor, views: torch.Tensor, embeddings: torch.Tensor, rows: int = 5) -> Figure:
    """Plot one image per row: the image, its first view, and the second views of all images by distance.

    Only the image has orientation labels, because the views are rotated.

    Args:
        images: (B, C, *spatial).
        views: (B, 2, C, *spatial).
        embeddings: (B, 2, channels).
        rows: maximum number of rows.
    """
    distances = torch.cdist(embeddings[:, 0], embeddings[:, 1])
    shown, nearest = min(rows, len(images)), min(TOP_K, len(images))
    figure = Figure(figsize=(1.8 * (2 + nearest), 2.1 * shown))
    panels = figure.subplots(shown, 2 + nearest, squeeze=False)
    for i, line in enumerate(panels):
        limits = figures.intensity_limits(figures.plane(images[i]))
        orientation = figures.orientation_of(range(images.ndim - 2))
        figures.show(line[0], figures.plane(images[i]), limits, orientation=orientation)
        figures.show(line[1], figures.plane(views[i, 0]), limits, figures.BLUE)
        for axes, other in zip(line[2:], distances[i].argsort().tolist(), strict=False):
            color = figures.GREEN if other == i else figures.GREY
            figures.show(axes, figures.plane(views[other, 1]), limits, color)
            axes.set_xlabel(f"distance {distances[i, other]:.2f}", fontsize=8)
    panels[0, 0].set_title("image", fontsize=9)
    panels[0, 1].set_title("first view", fontsize=9)
    panels[0, 2].set_title("second views, nearest first (green: same image)", fontsize=9, loc="left")
    figure.tight_layout()
    return figure
