"""Small pieces of every picture the bundles draw (matplotlib without a window system)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from tools.files import whole_file

BLUE, ORANGE, GREEN, RED, GREY = "#3b76af", "#e8862d", "#3a923a", "#c03d3e", "#8c8c8c"
DPI = 110
EDGE = 6  # pixels; more than lies between two words


def plane(image: torch.Tensor, index: int | None = None) -> np.ndarray:
    """Return a picture of an image: of a volume's first channel (H, W), of three channels in 2D in colour (H, W, 3).

    Args:
        image: (C, H, W), or (C, D, H, W).
        index: slice along the last axis of a volume; default the middle one.
    """
    image = image.detach().float().cpu()
    if image.ndim == 3:
        return (image.movedim(0, -1) if len(image) == 3 else image[0]).numpy()
    return image[0, ..., image.shape[-1] // 2 if index is None else index].numpy()


def planes(image: torch.Tensor) -> np.ndarray:
    """Return the middle slices across all axes of a cube side by side; of a picture just itself."""
    if image.ndim == 3:
        return plane(image)
    return np.concatenate([plane(image.movedim(axis, -1)) for axis in (1, 2, 3)], axis=1)


def show(axes: Axes, picture: np.ndarray, limits: tuple[float, float] | None = None, color: str | None = None) -> None:
    """Draw a picture (H, W) or (H, W, 3) without ticks, with a coloured frame if `color` is given."""
    low, high = limits or intensity_limits(picture)
    scaled = ((picture - low) / (high - low)).clip(0, 1)
    axes.imshow(scaled, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(color is not None)
        side.set_color(color or "none")
        side.set_linewidth(3)


def intensity_limits(picture: np.ndarray) -> tuple[float, float]:
    """Black and white point: the 0.5th and 99.5th percentile, never equal."""
    low, high = np.percentile(picture, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def box(axes: Axes, corner: tuple[int, int], size: tuple[int, int], color: str, width: float = 1.8) -> None:
    """Outline a box given by its first row and column and its edge lengths."""
    frame = Rectangle(
        (corner[1] - 0.5, corner[0] - 0.5), size[1], size[0], fill=False, edgecolor=color, linewidth=width
    )
    axes.add_patch(frame)


def line(color: str) -> Line2D:
    """A line for a legend."""
    return Line2D([], [], color=color, linewidth=1.5)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure, cut to what is drawn and a margin, whole or not at all."""
    figure.set(dpi=DPI, facecolor="white")
    picture = _cut(figure) if Path(path).suffix == ".png" else None
    with whole_file(path) as temporary:
        if picture is None:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight")
        else:
            picture.save(temporary, dpi=(DPI, DPI))


def _cut(figure: Figure) -> Image.Image | None:
    """Cut by the pixels drawn: matplotlib draws twice for it. None where something may stick out of the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    left, top, right, bottom = ImageOps.invert(picture).getbbox() or (0, 0, 0, 0)
    if min(left, top, picture.width - right, picture.height - bottom) < EDGE:
        return None
    return ImageOps.expand(picture.crop((left, top, right, bottom)), DPI // 10, "white")
