"""Antialiased strokes and spots on a picture, each computed only where it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

Profile = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Spots:
    """Blots with an irregular outline. Lengths in any one unit, angles in radians.

    Attributes:
        centres: positions (N, 2).
        radii: mean radius (N,).
        stretch: length over width (N,).
        angles: direction of the length (N,), 0 along x.
        outline: phases (N, 2) of the irregularities of the outline.
        ragged: size (N,) of these irregularities, relative to the radius.
        strength: how strongly the spot is painted (N,), at most 1.
    """

    centres: np.ndarray
    radii: np.ndarray
    stretch: np.ndarray
    angles: np.ndarray
    outline: np.ndarray
    ragged: np.ndarray
    strength: np.ndarray


def make_spots(
    rng: np.random.Generator,
    centres: np.ndarray,
    radius: tuple[float, float],
    stretch: tuple[float, float] = (1.0, 1.4),
    ragged: float = 0.15,
    strength: tuple[float, float] = (0.6, 1.0),
) -> Spots:
    """Draw spots at `centres` (N, 2); a pair is the range of a property, a radius leans towards the lower end."""
    count = len(centres)
    low, high = radius
    return Spots(
        centres=np.asarray(centres, dtype=np.float64).reshape(count, 2),
        radii=low + (high - low) * rng.random(count) ** 1.7,
        stretch=rng.uniform(*stretch, count),
        angles=rng.uniform(0.0, np.pi, count),
        outline=rng.uniform(0.0, 2 * np.pi, (count, 2)),
        ragged=np.full(count, ragged),
        strength=rng.uniform(*strength, count),
    )


def no_spots() -> Spots:
    """Return an empty set of spots."""
    return make_spots(np.random.default_rng(0), np.zeros((0, 2)), (1.0, 1.0))


def join_spots(parts: Sequence[Spots]) -> Spots:
    """Put sets of spots together."""
    parts = [no_spots(), *parts]
    return Spots(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Spots)})


def draw_segments(
    shape: Sequence[int], starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, strength: np.ndarray
) -> torch.Tensor:
    """Draw straight strokes with round ends; where several meet, the strongest counts.

    A stroke thinner than a pixel is drawn a pixel wide and fainter, as a lens would show it.

    Args:
        shape: height and width of the picture.
        starts: first ends (N, 2), x and y in pixels.
        ends: other ends (N, 2).
        radii: half the width of each stroke (N,), in pixels.
        strength: value of each stroke (N,).

    Returns:
        Coverage (H, W), 0 to the largest strength.
    """
    if len(starts) == 0:
        return torch.zeros(tuple(shape))
    centres = (starts + ends) / 2
    half = np.hypot(*(ends - starts).T) / 2
    axis_x, axis_y = (_column(v) for v in (ends - centres).T)
    radius, value = _column(radii), _column(strength)
    squared = (axis_x**2 + axis_y**2).clamp(min=1e-6)
    peak = (2 * radius).clamp(max=1.0)

    def profile(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        along = ((x * axis_x + y * axis_y) / squared).clamp(-1, 1)
        distance = ((x - along * axis_x) ** 2 + (y - along * axis_y) ** 2).sqrt()
        return torch.minimum((radius + 0.5 - distance).clamp(min=0), peak) * value

    return _stamp(shape, centres, float((half + radii).max()) + 1.0, profile)


def draw_spots(shape: Sequence[int], spots: Spots, softness: float = 0.0) -> torch.Tensor:
    """Draw spots given in pixels; where several meet, the strongest counts.

    Args:
        shape: height and width of the picture.
        spots: the spots, lengths in pixels.
        softness: width of the soft edge relative to the radius; it is at least a pixel wide.

    Returns:
        Coverage (H, W), 0 to 1.
    """
    if len(spots.radii) == 0:
        return torch.zeros(tuple(shape))
    radius, angle, first, second = (_column(v) for v in (spots.radii, spots.angles, *spots.outline.T))
    ragged, value = _column(spots.ragged), _column(spots.strength)
    longer = _column(np.sqrt(spots.stretch))
    edge = (softness * radius).clamp(min=1.0)

    def profile(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        along = (x * angle.cos() + y * angle.sin()) / longer
        across = (y * angle.cos() - x * angle.sin()) * longer
        turn = torch.atan2(across, along)
        outline = 1 + ragged * ((2 * turn + first).sin() + 0.7 * (5 * turn + second).sin())
        inside = (radius * outline - (along**2 + across**2).sqrt()) / edge + 0.5
        return inside.clamp(min=0).minimum((2 * radius / edge).clamp(max=1.0)) * value

    reach = spots.radii * np.sqrt(spots.stretch) * (1 + 1.7 * spots.ragged) + np.maximum(softness * spots.radii, 1) / 2
    return _stamp(shape, spots.centres, float(reach.max()), profile)


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))[:, None, None]


def _stamp(shape: Sequence[int], centres: np.ndarray, reach: float, profile: Profile) -> torch.Tensor:
    """Evaluate `profile` in a window of `reach` pixels around each centre and keep the largest value of a pixel."""
    height, width = shape
    half = int(np.ceil(reach)) + 1
    middle = np.clip(np.round(centres), -half - 1, (width + half, height + half)).astype(np.int64)
    steps = torch.arange(-half, half + 1)
    columns = torch.from_numpy(middle[:, 0])[:, None, None] + steps[None, None, :]
    rows = torch.from_numpy(middle[:, 1])[:, None, None] + steps[None, :, None]
    cover = profile(columns - _column(centres[:, 0]), rows - _column(centres[:, 1]))
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = (rows * width + columns)[inside]
    return torch.zeros(height * width).scatter_reduce_(0, index, cover[inside], "amax").view(height, width)
