"""Figure of masked autoencoding: masked, reconstructed and original images."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from tools.pretext.patch_grid import PatchGrid
from tools.utils import figures


def draw_reconstructions(
    visible: torch.Tensor,
    original: torch.Tensor,
    patches: torch.Tensor,
    masked: torch.Tensor,
    correct: torch.Tensor,
    layout: PatchGrid,
    rows: int = 4,
) -> Figure:
    """Plot one image per row; volumes are shown as a slice through the middle patch of the last axis.

    Args:
        visible: (B, C, *spatial), masked images, 0 in masked patches.
        original: (B, C, *spatial), original images.
        patches: (B, masked, C, *patch), reconstructed patches, in the units of `original`.
        masked: (B, masked), indices of the masked cells.
        correct: (B, masked), correctness of each reconstruction, negative where invalid.
        layout: grid of the patches.
        rows: maximum number of rows.
    """
    shown = min(rows, len(visible))
    index = layout.cells[-1] // 2 * layout.stride[-1] + layout.patch_size[-1] // 2
    orientation = figures.orientation_of(range(visible.ndim - 2))
    figure = Figure(figsize=(2.6 * 3, 2.7 * shown + 0.4))
    for b, line in enumerate(figure.subplots(shown, 3, squeeze=False)):
        limits = figures.intensity_limits(figures.plane(original[b], index))
        reconstructed = paste_patches(visible[b], patches[b], masked[b], layout)
        for axes, image, color in zip(
            line, (visible[b], reconstructed, original[b]), (figures.BLUE, None, None), strict=True
        ):
            figures.show(axes, figures.plane(image, index), limits, color, orientation)
        for corner, score in zip(layout.cell_corners()[masked[b]].tolist(), correct[b].tolist(), strict=True):
            if score >= 0 and (len(corner) == 2 or corner[2] <= index < corner[2] + layout.patch_size[2]):
                color = figures.GREEN if score > 0.5 else figures.RED
                figures.draw_box(line[1], corner[:2], layout.patch_size[:2], color, 0.8, orientation)
        valid = correct[b][correct[b] >= 0]
        line[1].set_xlabel(f"{valid.mean():.0%} of {len(valid)} patches correct", fontsize=8)
    for axes, title in zip(figure.axes, ("masked", "reconstructed", "original"), strict=False):
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def paste_patches(image: torch.Tensor, patches: torch.Tensor, cells: torch.Tensor, layout: PatchGrid) -> torch.Tensor:
    """Return a copy of an image (C, *spatial) with patches (N, C, *patch) pasted into cells (N,)."""
    image = image.clone()
    for patch, corner in zip(patches, layout.cell_corners()[cells].tolist(), strict=True):
        image[(slice(None), *(slice(c, c + e) for c, e in zip(corner, layout.patch_size, strict=True)))] = patch
    return image
