"""Eight kinds of things that outline and surface tell apart, whatever their colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Layers = tuple[np.ndarray, np.ndarray]


def draw_motif(kind: str, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """Draw one thing around the origin; all kinds cover about as much.

    Args:
        kind: name of the kind, one of `MOTIFS`.
        rng: draws what differs between things of a kind.
        x: place of every pixel (H, W) to the right; the thing reaches about 1 from the origin.
        y: the same downwards.
        pixel: width of a pixel in these units; edges are as soft.

    Returns:
        How much of every pixel the thing covers, and how much of that has its second colour; both (H, W), 0 to 1.
    """
    inside, second = MOTIFS[kind](rng, x, y, pixel)
    return _soft(inside, pixel), np.clip(second, 0, 1)


def _soft(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Turn a distance to an edge, positive inside, into a share of the pixel."""
    return np.clip(distance / pixel + 0.5, 0, 1)


def _sphere(x: np.ndarray, y: np.ndarray, way: float, radius: float) -> np.ndarray:
    """Light on a sphere from the side of `way`."""
    height = np.sqrt(np.clip(radius**2 - x * x - y * y, 0, None))
    return 0.35 + (0.6 * (x * np.cos(way) + y * np.sin(way)) + 0.45 * height) / radius


def _blob(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the outline of a pebble."""
    angle = np.arctan2(y, x)
    radius = 0.86 + sum(rng.uniform(0, 0.22 / n) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4))
    return radius - np.hypot(x, y)


def _wave(coordinate: np.ndarray, period: float) -> np.ndarray:
    """Distance to the edges of stripes, positive in every other one."""
    return period / np.pi * np.sin(2 * np.pi * coordinate / period) / 2


def _ball(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    return 0.84 - np.hypot(x, y), 0.5 + 2.5 * (_sphere(x, y, rng.uniform(0, 2 * np.pi), 0.84) - 0.66)


def _ring(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """A tyre: a bulging band with ribs across."""
    middle, half = 0.72, rng.uniform(0.24, 0.3)
    away, ribs = np.abs(np.hypot(x, y) - middle), int(rng.integers(14, 20))
    rim = _soft(away - 0.62 * half, pixel)
    across = np.sin(ribs * np.arctan2(y, x)) * middle / ribs
    return half - away, rim * _soft(across, pixel)


def _star(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """Five points, each folded along its middle, light on one side and dark on the other."""
    sector, outer, inner = np.pi / 5, 1.25, rng.uniform(0.58, 0.66)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) % (2 * sector) - sector
    along, beside = radius * np.cos(angle), radius * np.abs(np.sin(angle))
    corner_x, corner_y = inner * np.cos(sector), inner * np.sin(sector)
    length = np.hypot(outer - corner_x, corner_y)
    inside = ((outer - along) * corner_y - beside * (outer - corner_x)) / length
    seams = np.minimum(beside, radius * np.sin(sector - np.abs(angle)))
    return inside, _soft(np.sign(angle) * seams, pixel)


def _cross(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """Two bars with a broad hem."""
    half, reach = rng.uniform(0.34, 0.42), 1.02
    inside = np.maximum(
        np.minimum(half - np.abs(x), reach - np.abs(y)), np.minimum(reach - np.abs(x), half - np.abs(y))
    )
    return inside, _soft(inside - 0.36 * half, pixel)


def _crescent(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """A moon with a rough, marbled surface."""
    bite, radius = rng.uniform(0.54, 0.66), 1.18
    inside = np.minimum(radius - np.hypot(x + 0.3, y), np.hypot(x + 0.3 - bite, y) - 0.86)
    marble = np.zeros_like(x)
    for turn in rng.uniform(0, 2 * np.pi, 9):
        along = x * np.cos(turn) + y * np.sin(turn)
        marble += np.sin(2 * np.pi * along / rng.uniform(0.34, 0.6) + rng.uniform(0, 2 * np.pi))
    return inside, _soft(0.03 * marble, pixel)


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    bend = rng.uniform(0, 0.06) * np.sin(3 * y + rng.uniform(0, 2 * np.pi))
    return _blob(rng, x, y), _soft(_wave(x + bend, rng.uniform(0.38, 0.55)), pixel)


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    period = rng.uniform(0.6, 0.85)
    first, second = (2 * _soft(_wave(p + rng.uniform(0, period), period), pixel) - 1 for p in (x, y))
    return _blob(rng, x, y), 0.5 + 0.5 * first * second


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float) -> Layers:
    """Round spots in staggered rows."""
    step = rng.uniform(0.44, 0.58)
    row = np.floor(y / (0.87 * step) + 0.5)
    right = x / step + 0.5 * (row % 2)
    away = np.hypot((right - np.floor(right + 0.5)) * step, y - row * 0.87 * step)
    return _blob(rng, x, y), _soft(rng.uniform(0.32, 0.36) * step - away, pixel)


MOTIFS: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray, float], Layers]] = {
    "ball": _ball,
    "checks": _checks,
    "crescent": _crescent,
    "cross": _cross,
    "dots": _dots,
    "ring": _ring,
    "star": _star,
    "stripes": _stripes,
}
