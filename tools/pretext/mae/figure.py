"""Figure of masked autoencoding: images as masked, as reconstructed, and in the original."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from tools.pretext.patch_grid import PatchGrid
from tools.utils import figures


def draw_reconstructions(
    visible: torch.Tensor,
    truth: torch.Tensor,
    patches: torch.Tensor,
    masked: torch.Tensor,
    correct: torch.Tensor,
    layout: PatchGrid,
    rows: int = 4,
) -> Figure:
    """Draw one image per row; of volumes the slice in the middle of the last axis's middle patch.

    Args:
        visible: (B, C, *spatial), masked patches 0.
        truth: likewise, the same images whole.
        patches: (B, masked, C, *patch), as reconstructed, in the units of `truth`.
        masked: (B, masked), cells.
        correct: (B, masked) of each reconstruction, negative where it is invalid.
        layout: the grid of the cells.
        rows: number of images.
    """
    shown = min(rows, len(visible))
    index = layout.cells[-1] // 2 * layout.stride[-1] + layout.patch_size[-1] // 2
    orientation = figures.orientation_of(range(visible.ndim - 2))
    figure = Figure(figsize=(2.6 * 3, 2.7 * shown + 0.4))
    for b, line in enumerate(figure.subplots(shown, 3, squeeze=False)):
        limits = figures.intensity_limits(figures.plane(truth[b], index))
        whole = fill(visible[b], patches[b], masked[b], layout)
        for axes, image, color in zip(line, (visible[b], whole, truth[b]), (figures.BLUE, None, None), strict=True):
            figures.show(axes, figures.plane(image, index), limits, color, orientation)
        for corner, share in zip(layout.cell_corners()[masked[b]].tolist(), correct[b].tolist(), strict=True):
            if share >= 0 and (len(corner) == 2 or corner[2] <= index < corner[2] + layout.patch_size[2]):
                color = figures.GREEN if share > 0.5 else figures.RED
                figures.box(line[1], corner[:2], layout.patch_size[:2], color, 0.8, orientation)
        valid = correct[b][correct[b] >= 0]
        line[1].set_xlabel(f"{valid.mean():.0%} of {len(valid)} nearest to their own", fontsize=8)
    for axes, title in zip(figure.axes, ("masked", "reconstructed", "original"), strict=False):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def fill(image: torch.Tensor, patches: torch.Tensor, cells: torch.Tensor, layout: PatchGrid) -> torch.Tensor:
    """Put patches (N, C, *patch) into some cells (N,) of a copy of an image (C, *spatial)."""
    image = image.clone()
    for patch, corner in zip(patches, layout.cell_corners()[cells].tolist(), strict=True):
        image[(slice(None), *(slice(c, c + e) for c, e in zip(corner, layout.patch_size, strict=True)))] = patch
    return image
