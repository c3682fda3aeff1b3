"""What diabetes leaves on a retina, by grade of retinopathy, 0 to 4."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tools.phantoms.retina import Retina
from tools.phantoms.strokes import Spots, join_spots, make_spots, no_spots
from tools.phantoms.vessels import STEP, Vessels, join_vessels, to_segments


@dataclass(frozen=True)
class Lesions:
    """Lesions of one eye, in degrees as in `Retina`.

    Attributes:
        microaneurysms: tiny red dots.
        haemorrhages: dots and blots of blood within the retina.
        flames: streaks of blood along the nerve fibres.
        exudates: hard, yellow dots in clusters and rings.
        cotton_wool: soft white patches.
        pools: blood in front of the retina.
        new_vessels: tufts of fine vessels, or none.
        beading: how far the width of veins swells and shrinks, relative to itself.
    """

    microaneurysms: Spots
    haemorrhages: Spots
    flames: Spots
    exudates: Spots
    cotton_wool: Spots
    pools: Spots
    new_vessels: Vessels | None
    beading: float


@dataclass(frozen=True)
class _Grade:
    """Smallest and largest count of each lesion; the chance of exudates and of a pool of blood."""

    microaneurysms: tuple[int, int] = (0, 0)
    haemorrhages: tuple[int, int] = (0, 0)
    flames: tuple[int, int] = (0, 0)
    cotton_wool: tuple[int, int] = (0, 0)
    tufts: tuple[int, int] = (0, 0)
    beading: tuple[float, float] = (0.0, 0.0)
    exudates: float = 0.0
    pool: float = 0.0


GRADES = (
    _Grade(),
    _Grade((2, 9)),
    _Grade((5, 22), (3, 14), (0, 2), (0, 1), exudates=0.7),
    _Grade((10, 35), (20, 48), (1, 6), (1, 5), beading=(0.25, 0.5), exudates=0.6),
    _Grade((10, 35), (8, 42), (0, 6), (0, 4), (1, 3), (0.1, 0.45), exudates=0.5, pool=0.45),
)


def sample_lesions(rng: np.random.Generator, level: int, retina: Retina, look: np.ndarray, reach: float) -> Lesions:
    """Draw the lesions of one eye.

    Args:
        rng: source of all chance.
        level: grade of retinopathy, 0 (none), 1 (mild), 2 (moderate), 3 (severe) or 4 (proliferative).
        retina: the eye.
        look: middle of the part of the retina that shows them (2,), in degrees.
        reach: radius of that part, in degrees.
    """
    grade = GRADES[level]

    def some(name: str) -> np.ndarray:
        low, high = getattr(grade, name)
        return _places(rng, int(rng.integers(low, high + 1)), retina, look, reach)

    flames = make_spots(rng, some("flames"), (0.3, 0.7), (3.0, 6.0), 0.25, (0.6, 0.9))
    return Lesions(
        microaneurysms=make_spots(rng, some("microaneurysms"), (0.13, 0.22), strength=(0.6, 1.0)),
        haemorrhages=make_spots(rng, some("haemorrhages"), (0.22, 0.8), (1.0, 1.8), 0.15, (0.6, 1.0)),
        flames=replace(flames, angles=_fibres(flames.centres, retina.disc)),
        exudates=_exudates(rng, retina, look, reach) if rng.random() < grade.exudates else no_spots(),
        cotton_wool=make_spots(rng, some("cotton_wool"), (0.5, 1.0), (1.0, 1.8), 0.12, (0.3, 0.7)),
        pools=_pool(rng, retina, look, reach) if rng.random() < grade.pool else no_spots(),
        new_vessels=_tufts(rng, int(rng.integers(grade.tufts[0], grade.tufts[1] + 1)), retina, look, reach),
        beading=rng.uniform(*grade.beading),
    )


def _places(rng: np.random.Generator, count: int, retina: Retina, look: np.ndarray, reach: float) -> np.ndarray:
    """Choose places (N, 2) in all quadrants, off the disc and the middle of the fovea."""
    turns = 2 * np.pi * (np.arange(4 * count) * 0.618 + rng.random() + 0.2 * rng.random(4 * count))
    away = reach * np.sqrt(rng.random(4 * count))
    places = look + np.stack([away * np.cos(turns), away * np.sin(turns)], axis=1)
    free = (np.hypot(*(places - retina.disc).T) > 1.15 * retina.disc_radii[1]) & (np.hypot(*places.T) > 0.7)
    return places[free][:count]


def _fibres(places: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """Direction (N,) of the nerve fibres: straight to the disc on its nasal side, arching over the macula else."""
    x, y = (places - disc).T
    arch = np.where(x < 0, 0.35 * np.sign(y) * np.clip(-x / 10, 0, 1.5), 0.0)
    return np.arctan2(y, x) + arch


def _exudates(rng: np.random.Generator, retina: Retina, look: np.ndarray, reach: float) -> Spots:
    """Clusters about the macula; some lie in a ring."""
    parts = []
    for _ in range(rng.integers(1, 5)):
        count = int(rng.integers(5, 30))
        centre = 0.5 * _places(rng, 4, retina, look, reach)[0]
        if rng.random() < 0.35:
            turns = rng.uniform(0, 2 * np.pi) + rng.uniform(2.5, 6.0) * rng.random(count)
            ring = rng.uniform(1.2, 2.8) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            places = centre + ring + rng.normal(0, 0.2, (count, 2))
        else:
            places = centre + rng.normal(0, rng.uniform(0.5, 1.4), (count, 2))
        parts.append(make_spots(rng, places, (0.08, 0.34), (1.0, 1.7), 0.2, (0.5, 1.0)))
    return join_spots(parts)


def _pool(rng: np.random.Generator, retina: Retina, look: np.ndarray, reach: float) -> Spots:
    place = _places(rng, 4, retina, look, 0.8 * reach)[:1]
    pool = make_spots(rng, place, (1.2, 3.0), (1.3, 2.4), 0.06, (0.8, 1.0))
    return replace(pool, angles=rng.normal(0, 0.2, len(place)))


def _tufts(rng: np.random.Generator, count: int, retina: Retina, look: np.ndarray, reach: float) -> Vessels | None:
    """Fans of fine, winding vessels on the disc or on a vein of the arcades."""
    tree, parts = retina.vessels, []
    seen = np.hypot(*(tree.starts - look).T) < 0.9 * reach
    large = np.flatnonzero(tree.veins & (tree.radii > 0.09) & seen)
    for _ in range(count):
        on_disc = rng.random() < 0.45 or len(large) == 0
        root = retina.disc + rng.normal(0, 1.2, 2) if on_disc else tree.starts[rng.choice(large)]
        fan = rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(8, 18)):
            points = _wander(rng, root + rng.normal(0, 0.25, 2), fan + rng.normal(0, 1.0), rng.uniform(2.0, 5.0))
            parts.append(to_segments(points, np.full(len(points), rng.uniform(0.045, 0.08)), False))
    return join_vessels(parts) if parts else None


def _wander(rng: np.random.Generator, start: np.ndarray, heading: float, length: float) -> np.ndarray:
    """A path (N, 2) that curls and loops."""
    bends = rng.normal(0, 0.2) + rng.normal(0, 0.5, max(4, int(length / STEP)))
    headings = heading + np.cumsum(bends)
    return start + STEP * np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1), axis=0)
