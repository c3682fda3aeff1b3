"""The tree of retinal vessels: four arcades of arteries and veins that leave the disc, and their branches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

STEP = 0.3  # degrees between two points of a path
_EXTENT = 45.0  # degrees from the fovea that are looked after
_SIDE = int(2 * _EXTENT / STEP) + 1  # cells of that square, in which vessels keep their distance
_CLEAR = 5  # points from its start within which a branch may still touch its parent


@dataclass(frozen=True)
class Vessels:
    """Vessels as short straight segments. Lengths in degrees, see `Retina` for the axes.

    Attributes:
        starts: first ends (N, 2).
        ends: other ends (N, 2).
        radii: half the width (N,).
        along: distance of the segment from where its vessel starts (N,).
        veins: whether it belongs to a vein (N,).
    """

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray
    along: np.ndarray
    veins: np.ndarray


@dataclass(frozen=True)
class _Path:
    """One vessel between two branchings: points (N, 2), radii (N,), its sector and whether it is a vein."""

    points: np.ndarray
    radii: np.ndarray
    sector: tuple[int, int]  # temporal -1 or nasal 1 (0: the middle), inferior -1 or superior 1 (0: the middle)
    vein: bool


def to_segments(points: np.ndarray, radii: np.ndarray, vein: bool) -> Vessels:
    """Cut a path (points (N, 2), radii (N,)) into segments."""
    return Vessels(
        starts=points[:-1],
        ends=points[1:],
        radii=(radii[:-1] + radii[1:]) / 2,
        along=STEP * np.arange(len(points) - 1),
        veins=np.full(len(points) - 1, vein),
    )


def join_vessels(parts: list[Vessels]) -> Vessels:
    """Put vessels together."""
    names = ("starts", "ends", "radii", "along", "veins")
    return Vessels(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def grow_vessels(rng: np.random.Generator, disc: np.ndarray, tortuosity: float, calibre: float) -> Vessels:
    """Grow the vessels of one eye.

    Args:
        rng: source of all chance.
        disc: middle of the optic disc (2,), in degrees from the fovea, nasal and up.
        tortuosity: how far vessels wind about their course; about 1.
        calibre: width of all vessels relative to the average; about 1.

    Returns:
        Arteries and veins of all orders; vessels of a kind never cross each other.
    """
    taken = {vein: np.zeros(_SIDE * _SIDE, dtype=bool) for vein in (False, True)}
    avascular = rng.uniform(1.2, 2.2)
    grown: list[_Path] = []
    paths = _trunks(rng, disc, tortuosity, calibre)
    while paths:  # order by order, so that large vessels have the first choice of the ground
        kept = []
        for path in paths:
            path = _cut(path, taken[path.vein], disc, avascular, trunk=not grown)
            if len(path.points) > _CLEAR:
                _mark(taken[path.vein], path.points)
                kept.append(path)
        grown += kept
        paths = [branch for path in kept for branch in _branches(rng, path, tortuosity)]
    return join_vessels([to_segments(path.points, path.radii, path.vein) for path in grown])


def _trunks(rng: np.random.Generator, disc: np.ndarray, tortuosity: float, calibre: float) -> list[_Path]:
    """Lay the main vessels: one artery and one vein to each quadrant, a few small ones to the sides."""
    paths = []
    for side, up in ((-1, 1), (-1, -1), (1, 1), (1, -1)):
        if side < 0:  # around the macula
            course = [
                (rng.uniform(-1.5, 0.5), rng.uniform(8, 11)),
                (-15.5 + rng.uniform(-2, 5), rng.uniform(9.5, 13.5)),
            ]
            course.append((-15.5 - rng.uniform(18, 25), rng.uniform(4, 10)))
        else:
            course = [(rng.uniform(-0.5, 1.5), rng.uniform(3, 7)), (rng.uniform(5, 9), rng.uniform(6, 12))]
            course.append((rng.uniform(15, 22), rng.uniform(8, 20)))
        apart = rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 1.0)
        for vein in (False, True):
            knots = np.array([(0.0, 0.0), *course]) + rng.normal(0, (0.3, 0.6, 0.8, 1.6), (2, 4)).T
            knots[1:3] += (apart if vein else -apart) * np.array([(0.6, 1.0), (0.0, 1.2)])
            knots[0] += (0.5, 0.0)  # they come up on the nasal side of the cup
            points = _wind(rng, disc + knots * (1, up), tortuosity)
            width = calibre * rng.uniform(0.135, 0.17) * (1.3 if vein else 1.0) * (1.0 if side < 0 else 0.75)
            paths.append(_Path(points, _taper(points, width), (side, up), vein))
    for side in (-1, -1, 1, 1):
        turn = rng.normal(0, 0.45)
        reach = rng.uniform(3, 7) * np.array([side * np.cos(turn), np.sin(turn)])
        knots = np.outer((0.0, 0.4, 0.7, 1.0), reach) + disc + (0.6 * side, 0.0)
        knots[2, 1] += rng.normal(0, 0.8)
        points = _wind(rng, knots, tortuosity)
        paths.append(
            _Path(points, _taper(points, calibre * rng.uniform(0.05, 0.08)), (side, 0), bool(rng.random() < 0.5))
        )
    return paths


def _branches(rng: np.random.Generator, parent: _Path, tortuosity: float) -> list[_Path]:
    """Let branches leave a vessel, now to one side, now to the other, denser on small vessels."""
    points, radii = parent.points, parent.radii
    spacing = 1.6 + 9.0 * radii[0]
    at = int((0.6 + rng.random()) * spacing / STEP)
    side, branches = rng.choice((-1.0, 1.0)), []
    while at < len(points) - 2:
        radius = radii[at] * rng.uniform(0.5, 0.8)
        if radius > 0.026:
            heading = np.arctan2(*(points[at + 1] - points[at - 1])[::-1])
            length = 90.0 * radius * rng.uniform(0.7, 1.6) + 1.0
            angle = side * rng.uniform(0.5, 1.1)
            turns = heading + angle * np.array([1.0, rng.uniform(0.5, 1.2), rng.uniform(-0.2, 1.4)])
            legs = length / 3 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            knots = points[at] + np.concatenate([np.zeros((1, 2)), np.cumsum(legs, axis=0)])
            course = _wind(rng, knots, tortuosity)
            branches.append(_Path(course, _taper(course, radius), parent.sector, parent.vein))
        side = -side if rng.random() < 0.75 else side
        at += max(2, int(rng.uniform(0.5, 1.5) * spacing / STEP))
    return branches


@lru_cache
def _cubic(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (count, 4) of a cubic curve's control points in its points, and in its direction there."""
    t = np.linspace(0, 1, count)
    u = 1 - t
    place = np.stack([u**3, 3 * t * u**2, 3 * t**2 * u, t**3], axis=1)
    course = np.stack([-(u**2), u**2 - 2 * t * u, 2 * t * u - t**2, t**2], axis=1)
    return place, course


def _taper(points: np.ndarray, radius: float) -> np.ndarray:
    return radius * (1 - 0.55 / len(points) * np.arange(len(points)))


def _wind(rng: np.random.Generator, knots: np.ndarray, tortuosity: float) -> np.ndarray:
    """Lay points (N, 2) about `STEP` apart along a cubic curve (4, 2), pushed aside by noise that starts at 0."""
    legs = np.diff(knots, axis=0)
    count = max(4, int(np.sqrt((legs**2).sum(1)).sum() / STEP))
    place, course = _cubic(count)
    points, (right, up) = place @ knots, (course @ knots).T
    chance = rng.random(6)
    lengths, phases = np.array([1.8, 3.0, 5.0]) + np.array([1.2, 2.0, 4.0]) * chance[:3], 2 * np.pi * chance[3:]
    along = STEP * np.arange(count)
    aside = np.sin(np.multiply.outer(along, 2 * np.pi / lengths) + phases) @ lengths
    aside *= 0.035 * tortuosity * np.minimum(1, along / 2.5) / np.sqrt(right**2 + up**2 + 1e-9)
    points[:, 0] -= aside * up
    points[:, 1] += aside * right
    return points


def _cut(path: _Path, taken: np.ndarray, disc: np.ndarray, avascular: float, trunk: bool) -> _Path:
    """End a path where it meets another of its kind, the fovea, the disc or the border of its sector."""
    x, y = path.points.T
    side, up = path.sector
    stop = (np.hypot(x, y) < avascular) | (np.abs(y) > 30) | (x < -30) | (x > 43)
    if side < 0 and up:
        stop |= (y * up < 0.2) & (x < disc[0] - 3)
    elif side > 0 and up:
        stop |= ((y - disc[1]) * up < 0.2) & (x > disc[0] + 2)
    if not trunk:
        stop |= np.hypot(*(path.points - disc).T) < 3.2
    met = taken[_cells(path.points)]
    met[: 10 if trunk else _CLEAR] = False
    stop |= met & (not trunk or not up)
    last = int(np.argmax(stop)) if stop.any() else len(x)
    thinner = np.linspace(1.0, path.radii[-1] / path.radii[max(0, last - 1)], last)  # not to end in a thick stump
    return _Path(path.points[:last], path.radii[:last] * thinner, path.sector, path.vein)


def _mark(taken: np.ndarray, points: np.ndarray) -> None:
    around = np.array([[-1], [0], [1]])
    taken[(_cells(points) + (around + _SIDE * around.T).reshape(-1, 1)).ravel()] = True


def _cells(points: np.ndarray) -> np.ndarray:
    """Numbers (N,) of the cells, in a square of `_SIDE` by `_SIDE`, that points (N, 2) lie in."""
    return ((points + _EXTENT) / STEP).astype(int).clip(1, _SIDE - 2) @ (1, _SIDE)
