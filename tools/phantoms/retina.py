"""Anatomy of the retina as polygons; degrees of visual angle from the fovea, x towards the nose, y upwards."""

from typing import NamedTuple

import numpy as np

Polygon = tuple[np.ndarray, float]  # corners (N, 2) and strength, 0 to 1
STEP = 0.4  # degrees between two points of a vessel


class Path(NamedTuple):
    """A vessel: points (N, 2), radius at its start, quadrant (temporal -1 or nasal 1, inferior -1 or superior 1)."""

    points: np.ndarray
    radius: float
    side: int
    up: int

    def ribbon(self, beading: float = 0.0) -> Polygon:
        """Outline; its width tapers, and swells and shrinks by `beading`, relative to itself."""
        way = np.gradient(self.points, axis=0)
        way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
        along = np.arange(len(self.points))
        radii = self.radius * (1 - 0.55 * along / len(along)) * (1 + beading * np.sin(2 * np.pi * STEP * along / 1.3))
        aside = radii[:, None] * way[:, ::-1] * (1, -1)
        return np.concatenate([self.points + aside, (self.points - aside)[::-1]]), min(1.0, self.radius / 0.12) ** 0.3


def grow_vessels(rng: np.random.Generator, disc: np.ndarray, winding: float, width: float) -> list[Path]:
    """Grow the arteries or the veins of an eye: four arcades from the disc, of radius `width`, and their branches."""
    paths = []
    for side, up in ((-1, 1), (-1, -1), (1, 1), (1, -1)):
        temporal = (rng.uniform(-1.5, 0.5), rng.uniform(8, 11)), (rng.uniform(-18, -10), rng.uniform(9, 13)), (-37, 7)
        nasal = (rng.uniform(-0.5, 1.5), rng.uniform(3, 7)), (rng.uniform(5, 9), rng.uniform(6, 12)), (19, 14)
        knots = np.array([(0.5, 0.0), *(temporal if side < 0 else nasal)]) + rng.normal(0, 0.7, (4, 2))
        points = _wind(rng, disc + knots * (1, up), winding)
        paths.append(Path(points, width * (1.0 if side < 0 else 0.75) * rng.uniform(0.85, 1.1), side, up))
    grown: list[Path] = []
    while paths:
        path = _cut(paths.pop(), disc, 1.9)
        if len(path.points) > 5:
            grown.append(path)
            paths += _branches(rng, path, winding)
    return grown


def _wind(rng: np.random.Generator, knots: np.ndarray, winding: float) -> np.ndarray:
    """Sample points (N, 2) about `STEP` apart along a cubic curve (4, 2), displaced by noise that starts at 0."""
    count = max(4, int(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum() / STEP))
    t = np.linspace(0, 1, count)[:, None]
    points = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1) @ knots
    along, lengths = STEP * np.arange(count)[:, None], rng.uniform((1.8, 3.0, 5.0), (3.0, 5.0, 9.0))
    aside = np.sin(2 * np.pi * (along / lengths + rng.random(3))) @ lengths * 0.035 * winding
    way = np.gradient(points, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
    return points + (aside * np.minimum(1, along[:, 0] / 2.5))[:, None] * way[:, ::-1] * (1, -1)


def _branches(rng: np.random.Generator, parent: Path, winding: float) -> list[Path]:
    """Grow branches on alternating sides of a vessel, denser on small vessels."""
    spacing, branches, side = 2.2 + 9.0 * parent.radius, [], rng.choice((-1.0, 1.0))
    at = int((1.0 + 1.5 * rng.random()) * spacing / STEP)
    while at < len(parent.points) - 2:
        radius = parent.radius * (1 - 0.55 * at / len(parent.points)) * rng.uniform(0.5, 0.8)
        if radius > 0.05:
            x, y = parent.points[at + 1] - parent.points[at - 1]
            turns = np.arctan2(y, x) + side * rng.uniform(0.5, 1.1) * np.array([1.0, 0.8, rng.uniform(-0.2, 1.4)])
            legs = (30.0 * radius * rng.uniform(0.7, 1.6) + 0.3) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            knots = parent.points[at] + np.concatenate([np.zeros((1, 2)), np.cumsum(legs, axis=0)])
            branches.append(Path(_wind(rng, knots, winding), radius, parent.side, parent.up))
        side *= -1 if rng.random() < 0.75 else 1
        at += max(2, int(rng.uniform(0.5, 1.5) * spacing / STEP))
    return branches


def _cut(path: Path, disc: np.ndarray, avascular: float) -> Path:
    """End a vessel at the fovea, at the far periphery and at the border of its quadrant."""
    x, y = path.points.T
    stop = (np.hypot(x, y) < avascular) | (np.abs(y) > 30) | (x < -30) | (x > 43)
    if path.side < 0:
        stop |= (y * path.up < 0.2) & (x < disc[0] - 3)
    else:
        stop |= ((y - disc[1]) * path.up < 0.2) & (x > disc[0] + 2)
    return path._replace(points=path.points[: int(np.argmax(stop))]) if stop.any() else path


def blots(
    rng: np.random.Generator,
    centres: np.ndarray,
    radius: tuple[float, float],
    stretch: float = 1.4,
    strength: tuple[float, float] = (0.6, 1.0),
    angles: np.ndarray | None = None,
) -> list[Polygon]:
    """Draw spots at `centres` (N, 2) with ranges of radius and strength, up to `stretch` times as long as wide.

    `angles` (N,) are the directions of their length, random by default.
    """
    turn, spots = np.linspace(0, 2 * np.pi, 20, endpoint=False), []
    for number, centre in enumerate(centres):
        size, longer = radius[0] + (radius[1] - radius[0]) * rng.random() ** 1.7, np.sqrt(rng.uniform(1.0, stretch))
        first, second, way = rng.uniform(0, 2 * np.pi, 3)
        way = way if angles is None else angles[number]
        outline = size * (1 + 0.15 * (np.sin(2 * turn + first) + 0.7 * np.sin(5 * turn + second)))
        u, v = outline * np.cos(turn) * longer, outline * np.sin(turn) / longer
        corners = np.stack([u * np.cos(way) - v * np.sin(way), u * np.sin(way) + v * np.cos(way)], axis=1)
        spots.append((centre + corners, rng.uniform(*strength)))
    return spots


NO_LESIONS = dict.fromkeys(("dots", "bleeds", "flames", "wool", "pools", "beads"), (0, 0)) | {"exudates": 0}
#: by grade of retinopathy: smallest and largest count of each lesion, beading of veins, chance of exudates
GRADES = (
    {},
    {"dots": (2, 9)},
    {"dots": (5, 22), "bleeds": (3, 14), "flames": (0, 2), "wool": (0, 1), "exudates": 0.7},
    {"dots": (10, 35), "bleeds": (20, 48), "flames": (1, 6), "wool": (1, 5), "beads": (0.25, 0.5), "exudates": 0.6},
    {"dots": (10, 35), "bleeds": (8, 42), "flames": (0, 6), "wool": (0, 4), "beads": (0.1, 0.45), "pools": (1, 2)},
)


class Lesions(NamedTuple):
    """Lesions of an eye: blood, soft and hard white spots, pools of blood in the foreground, beading of the veins."""

    blood: list[Polygon]
    wool: list[Polygon]
    exudates: list[Polygon]
    pools: list[Polygon]
    beading: float


def sample_lesions(rng: np.random.Generator, level: int, disc: np.ndarray, look: np.ndarray, reach: float) -> Lesions:
    """Draw the lesions of a grade of retinopathy, 0 to 4, within `reach` degrees of `look` (2,) and off the disc."""
    grade = NO_LESIONS | GRADES[level]

    def places(low: int, high: int) -> np.ndarray:
        """Choose places (N, 2) in all directions, off the disc and the middle of the fovea."""
        count = int(rng.integers(low, high + 1))
        turns = 2 * np.pi * (0.618 * np.arange(4 * count) + rng.random() + 0.2 * rng.random(4 * count))
        away = reach * np.sqrt(rng.random(4 * count))
        found = look + away[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return found[(np.hypot(*(found - disc).T) > 3.5) & (np.hypot(*found.T) > 0.7)][:count]

    flames = places(*grade["flames"])
    x, y = (flames - disc).T  # nerve fibres run straight to the disc on its nasal side, else arch over the macula
    fibres = np.arctan2(y, x) + np.where(x < 0, 0.35 * np.sign(y) * np.clip(-x / 10, 0, 1.5), 0.0)
    blood = blots(rng, places(*grade["dots"]), (0.13, 0.22)) + blots(rng, places(*grade["bleeds"]), (0.22, 0.8), 1.8)
    blood += blots(rng, flames, (0.3, 0.7), 6.0, angles=fibres)
    exudates: list[Polygon] = []
    for _ in range(int(rng.integers(1, 5)) if rng.random() < grade["exudates"] else 0):
        spread = rng.normal(0, rng.uniform(0.5, 1.6), (int(rng.integers(5, 30)), 2))
        exudates += blots(rng, 0.5 * places(4, 4)[0] + spread, (0.08, 0.34), 1.7)
    wool = blots(rng, places(*grade["wool"]), (0.5, 1.0), 1.8, (0.3, 0.7))
    pools = blots(rng, places(*grade["pools"]), (1.2, 3.0), 2.4, (0.8, 1.0))
    return Lesions(blood, wool, exudates, pools, rng.uniform(*grade["beads"]))
