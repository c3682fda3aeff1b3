"""Matplotlib helpers for figures of images, without a display."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from tools.utils.files import atomic_write
from tools.utils.outputs import MARK

BLUE, ORANGE, GREEN, RED, GREY = "#3b76af", "#e8862d", "#3a923a", "#c03d3e", "#8c8c8c"
DPI = 110
EDGE = 6  # minimum margin in pixels


class Orientation(NamedTuple):
    """Radiological display of slices of volumes in RAS orientation, the same in every figure.

    Superior is up in sagittal and coronal slices, anterior in axial ones. The patient's right is on the left of the
    image, in sagittal slices anterior.

    Attributes:
        first: axis of the volume (0 left to right, 1 posterior to anterior, 2 inferior to superior) along the first
            dimension of a slice.
        second: axis of the volume along the second dimension.
    """

    first: int
    second: int

    @classmethod
    def across(cls, axis: int) -> Orientation:
        """Return the orientation of slices perpendicular to an axis, with dimensions in the order of the volume."""
        return cls(*(other for other in range(3) if other != axis))

    @property
    def letters(self) -> tuple[str, str]:
        """Sides of the patient at the left and the right edge of the displayed image."""
        return ("R", "L") if min(self) == 0 else ("A", "P")

    def display(self, pixels: np.ndarray) -> np.ndarray:
        """Convert a slice (first, second, ...) to a displayed image (rows, columns, ...)."""
        return (pixels.swapaxes(0, 1) if self.first < self.second else pixels)[::-1, ::-1]

    def display_box(
        self, corner: Sequence[int], size: Sequence[int], shape: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Return corner and size of a box of a slice in the displayed image with shape (rows, columns)."""
        step = -1 if self.first < self.second else 1
        edges = list(size[::step])
        return [n - c - e for n, c, e in zip(shape, corner[::step], edges, strict=True)], edges


_slice_axis: ContextVar[int | None] = ContextVar("slice_axis", default=None)


@contextmanager
def slices_across(axis: int | None) -> Iterator[None]:
    """Declare 2D images as slices perpendicular to an axis in RAS orientation, or with None as photographs."""
    token = _slice_axis.set(axis)
    try:
        yield
    finally:
        _slice_axis.reset(token)


def orientation_of(order: Sequence[int]) -> Orientation | None:
    """Return the orientation of the slices of `plane`; None for photographs.

    Args:
        order: two or three spatial axes of the original images, in their present order.
    """
    if len(order) == 3:
        return Orientation(*order[:2])
    if _slice_axis.get() is None:
        return None
    axes = Orientation.across(_slice_axis.get())
    return Orientation(axes[order[0]], axes[order[1]])


def plane(image: torch.Tensor, index: int | None = None, orientation: Orientation | None = None) -> np.ndarray:
    """Return pixels for display: a slice of the first channel (H, W), or a 2D colour image (H, W, 3).

    Args:
        image: image (C, H, W) or volume (C, D, H, W).
        index: index along the last axis of a volume; the central slice by default.
        orientation: orientation of the slice or 2D image; by default axes in their original order.
    """
    image = image.detach().float().cpu()
    orientation = orientation or orientation_of(range(image.ndim - 1))
    if image.ndim == 3:
        pixels = (image.movedim(0, -1) if len(image) == 3 else image[0]).numpy()
    else:
        pixels = image[0, ..., image.shape[-1] // 2 if index is None else index].numpy()
    return pixels if orientation is None else orientation.display(pixels)


def planes(image: torch.Tensor) -> np.ndarray:
    """Return the three central slices of a cube side by side, or a 2D image."""
    if image.ndim == 3:
        return plane(image)
    reordered = ((image.movedim(1 + axis, -1), Orientation.across(axis)) for axis in range(3))
    return np.concatenate([plane(volume, orientation=one) for volume, one in reordered], axis=1)


def mark_planes(axes: Axes, dims: int) -> None:
    """Add the letters of the patient's sides to an image of `planes`."""
    orientations = [orientation_of((0, 1))] if dims == 2 else [Orientation.across(axis) for axis in range(3)]
    for i, orientation in enumerate(orientations):
        mark_sides(axes, orientation, (i / len(orientations), (i + 1) / len(orientations)))


def mark_sides(axes: Axes, orientation: Orientation | None, span: tuple[float, float] = (0, 1)) -> None:
    """Add the letters of the patient's sides at the edges of a displayed slice.

    Args:
        axes: axes of the slice.
        orientation: orientation of the slice; None for photographs, which have no letters.
        span: left and right end of the slice as fractions of the axes.
    """
    if orientation is None:
        return
    left, right = orientation.letters
    style = {
        "fontsize": 8,
        "color": "white",
        "va": "center",
        "path_effects": [withStroke(linewidth=1.5, foreground="black")],
    }
    axes.text(span[0] + 0.02, 0.5, left, ha="left", transform=axes.transAxes, **style)
    axes.text(span[1] - 0.02, 0.5, right, ha="right", transform=axes.transAxes, **style)


def show(
    axes: Axes,
    image: np.ndarray,
    limits: tuple[float, float] | None = None,
    color: str | None = None,
    orientation: Orientation | None = None,
    aspect: float = 1.0,
) -> None:
    """Display an image (H, W) or (H, W, 3) without ticks.

    Args:
        axes: axes of the image.
        image: pixels in display orientation.
        limits: intensities displayed as black and white.
        color: colour of a frame, or None.
        orientation: orientation for the letters of the patient's sides, or None.
        aspect: ratio of height and width of a pixel.
    """
    low, high = limits or intensity_limits(image)
    scaled = ((image - low) / (high - low)).clip(0, 1)
    axes.imshow(scaled, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect=aspect)
    mark_sides(axes, orientation)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(color is not None)
        side.set_color(color or "none")
        side.set_linewidth(3)


def intensity_limits(image: np.ndarray) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile, never equal, as black and white point."""
    low, high = np.percentile(image, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def draw_box(
    axes: Axes,
    corner: Sequence[int],
    size: Sequence[int],
    color: str,
    width: float = 1.8,
    orientation: Orientation | None = None,
) -> None:
    """Outline a box given by its first row and column and its size; in slice coordinates with `orientation`."""
    if orientation is not None:
        corner, size = orientation.display_box(corner, size, axes.images[0].get_array().shape)
    frame = Rectangle(
        (corner[1] - 0.5, corner[0] - 0.5), size[1], size[0], fill=False, edgecolor=color, linewidth=width
    )
    axes.add_patch(frame)


def legend_line(color: str) -> Line2D:
    """Return a line for a legend."""
    return Line2D([], [], color=color, linewidth=1.5)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure atomically with a tight bounding box; PNG files are marked as outputs."""
    figure.set(dpi=DPI, facecolor="white")
    png = Path(path).suffix == ".png"
    image = _crop(figure) if png else None
    with atomic_write(path) as temporary:
        if image is None:
            metadata = {"Software": MARK} if png else None
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight", metadata=metadata)
        else:
            mark = PngInfo()
            mark.add_text("Software", MARK)
            image.save(temporary, dpi=(DPI, DPI), pnginfo=mark)


def _crop(figure: Figure) -> Image.Image | None:
    """Render and crop to the drawn pixels; None if something may be outside the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    left, top, right, bottom = ImageOps.invert(image).getbbox() or (0, 0, 0, 0)
    if min(left, top, image.width - right, image.height - bottom) < EDGE:
        return None
    return ImageOps.expand(image.crop((left, top, right, bottom)), DPI // 10, "white")
