"""What a lung nodule looks like by its malignancy, 1 to 5, and what lies around it, drawn in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRADES = 5
SIZES = (7.5, 8.0, 8.8, 9.9, 10.7)  # median diameter by malignancy, in mm; spreads overlap widely
SPREAD = 0.33  # of the logarithm of the diameter
LIMITS = (4.0, 26.0)  # of the diameter
#: chances by malignancy of what a radiologist looks for
SPICULATED = (0.02, 0.08, 0.3, 0.7, 0.9)
CALCIFIED = (0.45, 0.2, 0.08, 0.03, 0.02)
SMOOTH = (0.95, 0.8, 0.5, 0.2, 0.08)
LOBULATED = (0.1, 0.2, 0.4, 0.6, 0.7)
PART_SOLID = (0.04, 0.1, 0.2, 0.28, 0.25)
GROUND_GLASS = (0.05, 0.1, 0.12, 0.08, 0.03)
CAVITY = (0.02, 0.03, 0.05, 0.1, 0.12)
PATTERNS = ("central", "diffuse", "popcorn", "shell")


@dataclass(frozen=True)
class Rod:
    """A straight tube from start to end (3,), with a radius at either, in mm."""

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]


@dataclass(frozen=True)
class Nodule:
    """One nodule; lengths in mm about its middle.

    Attributes:
        diameter: of the ball of about its volume.
        axes: lengths of the half axes relative to the radius (3,).
        turn: rotation (3, 3) of the axes.
        lobes: balls that bulge out of it: centres (N, 3) and radii (N,), relative to the radius.
        ruggedness: how far its surface is displaced at random.
        edge: width of its margin.
        spicules: thin spikes.
        density: Hounsfield units of its body.
        core: Hounsfield units of the solid part within ground glass, its radius relative to the nodule's, or none.
        calcium: pattern and Hounsfield units, or none.
        cavity: centre (3,) and radius relative to the radius, or none.
        feeders: vessels that end in it.
    """

    diameter: float
    axes: np.ndarray
    turn: np.ndarray
    lobes: tuple[np.ndarray, np.ndarray]
    ruggedness: float
    edge: float
    spicules: tuple[Rod, ...]
    density: float
    core: tuple[float, float] | None
    calcium: tuple[str, float] | None
    cavity: tuple[np.ndarray, float] | None
    feeders: tuple[Rod, ...]


def directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw unit vectors (N, 3) from everywhere."""
    vectors = rng.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sample_nodule(rng: np.random.Generator, malignancy: int) -> Nodule:
    """Draw a nodule.

    No property decides: a malignant one is often larger, spiculated, lobulated, ill-defined or part-solid, a benign one
    often small, smooth, sharp or calcified, and each may be otherwise.

    Args:
        rng: source of all chance.
        malignancy: 1 (highly unlikely) to 5 (highly suspicious).
    """
    grade = malignancy - 1

    def some(chances: tuple[float, ...]) -> bool:
        return bool(rng.random() < chances[grade])

    diameter = float(np.clip(SIZES[grade] * np.exp(SPREAD * rng.standard_normal()), *LIMITS))
    radius = diameter / 2
    kind = rng.random()
    ground_glass = kind < GROUND_GLASS[grade]
    part_solid = not ground_glass and kind < GROUND_GLASS[grade] + PART_SOLID[grade]
    smooth = some(SMOOTH)
    hazy = ground_glass or part_solid
    lobes = int(rng.integers(2, 6)) if some(LOBULATED) else 0
    spicules = int(rng.integers(12, 26)) if some(SPICULATED) else int(rng.integers(0, 3))
    return Nodule(
        diameter=diameter,
        axes=rng.uniform(0.8, 1.25, 3),
        turn=np.linalg.qr(rng.standard_normal((3, 3)))[0],
        lobes=(0.75 * directions(rng, lobes), rng.uniform(0.4, 0.6, lobes)),
        ruggedness=float(rng.uniform(0.0, 0.25) if smooth else rng.uniform(0.5, 1.1)) * min(1.0, radius / 4),
        edge=float(rng.uniform(0.8, 1.3) if smooth else rng.uniform(1.8, 3.5)),
        spicules=tuple(_spicule(rng, radius, way) for way in directions(rng, spicules)),
        density=float(rng.uniform(-640, -440) if hazy else rng.uniform(0, 70)),
        core=(float(rng.uniform(-60, 50)), float(rng.uniform(0.35, 0.65))) if part_solid else None,
        calcium=_calcium(rng) if some(CALCIFIED) and not hazy else None,
        cavity=(0.25 * directions(rng, 1)[0], float(rng.uniform(0.3, 0.5))) if some(CAVITY) and radius > 5 else None,
        feeders=tuple(_feeder(rng, way) for way in directions(rng, int(rng.choice(3, p=(0.45, 0.4, 0.15))))),
    )


def _spicule(rng: np.random.Generator, radius: float, way: np.ndarray) -> Rod:
    reach = radius + rng.uniform(2.5, 5.5) + 0.5 * radius * rng.random()
    bent = way + rng.normal(0, 0.12, 3)
    return Rod(0.6 * radius * way, reach * bent, (float(rng.uniform(1.1, 1.7)), 0.4))


def _feeder(rng: np.random.Generator, way: np.ndarray) -> Rod:
    width = float(rng.uniform(0.6, 1.5))
    return Rod(np.zeros(3), way * 60 + rng.normal(0, 8, 3), (width, width * float(rng.uniform(1.0, 1.6))))


def _calcium(rng: np.random.Generator) -> tuple[str, float]:
    return str(rng.choice(PATTERNS)), float(rng.uniform(300, 900))


@dataclass(frozen=True)
class Lung:
    """The scan of one person's lung. Hounsfield units, mm.

    Attributes:
        air: density of the tissue between vessels.
        texture: how far it varies.
        emphysema: share of it that is holes.
        blood: density of vessels.
        blur: sigma of the point spread along z, y and x.
        noise: standard deviation of the noise.
    """

    air: float
    texture: float
    emphysema: float
    blood: float
    blur: tuple[float, float, float]
    noise: float


def sample_lung(rng: np.random.Generator) -> Lung:
    """Draw the scan of one person: slices of 1 to 2.5 mm, soft to sharp kernel, with or without contrast."""
    sharp, slices = rng.uniform(0.45, 0.75), rng.uniform(0.5, 1.1)
    return Lung(
        air=float(rng.normal(-855, 22)),
        texture=float(rng.uniform(12, 35)),
        emphysema=float(rng.uniform(0.03, 0.12)) if rng.random() < 0.25 else 0.0,
        blood=float(rng.uniform(20, 60) if rng.random() < 0.5 else rng.uniform(90, 220)),
        blur=(float(slices), float(sharp), float(sharp)),
        noise=float(rng.uniform(12, 45)),
    )


@dataclass(frozen=True)
class Surroundings:
    """What lies around a nodule, in mm about its middle.

    Attributes:
        vessels: tubes of blood.
        wall: direction (3,) of the chest wall and its distance, or none.
        bend: radius of the wall's curve.
        rib: distance of a rib's axis behind the wall, its heading (3,) and radius, or none.
        fissure: direction (3,) and distance of a thin sheet, or none.
    """

    vessels: tuple[Rod, ...]
    wall: tuple[np.ndarray, float] | None
    bend: float
    rib: tuple[float, np.ndarray, float] | None
    fissure: tuple[np.ndarray, float] | None


def sample_surroundings(rng: np.random.Generator, radius: float) -> Surroundings:
    """Draw what lies around a nodule of a radius; a wall touches it or keeps off, whatever the malignancy."""
    wall = None
    if rng.random() < 0.45:
        touching = rng.random() < 0.4
        distance = radius * rng.uniform(0.4, 0.95) if touching else radius + rng.uniform(2.0, 20.0)
        wall = (directions(rng, 1)[0] * (0.3, 1.0, 1.0), float(distance))
        wall = (wall[0] / np.linalg.norm(wall[0]), wall[1])
    rib = None
    if wall is not None and rng.random() < 0.6:
        rib = (float(rng.uniform(9.0, 13.0)), directions(rng, 1)[0], float(rng.uniform(3.5, 5.5)))
    sheet = (directions(rng, 1)[0], float(rng.uniform(4.0, 22.0)))
    return Surroundings(
        vessels=tuple(rod for _ in range(int(rng.integers(7, 16))) for rod in _vessel(rng, radius)),
        wall=wall,
        bend=float(rng.uniform(55.0, 160.0)),
        rib=rib,
        fissure=sheet if rng.random() < 0.2 else None,
    )


def _vessel(rng: np.random.Generator, radius: float) -> list[Rod]:
    """A vessel that passes by and tapers, with a branch."""
    heading, width = directions(rng, 1)[0], float(np.clip(0.5 + rng.exponential(0.45), 0.5, 2.6))
    beside = np.cross(heading, directions(rng, 1)[0])
    place = beside / np.linalg.norm(beside) * (radius + rng.uniform(2.0, 24.0)) + rng.uniform(-15, 15) * heading
    middle, onward = place + rng.normal(0, 1.5, 3), heading + rng.normal(0, 0.35, 3)
    fork = heading + rng.normal(0, 0.7, 3)
    return [
        Rod(place - 45 * heading, middle, (1.2 * width, width)),
        Rod(middle, middle + 45 * onward, (0.9 * width, 0.5 * width)),
        Rod(middle, middle + 40 * fork, (0.7 * width, 0.3 * width)),
    ]
