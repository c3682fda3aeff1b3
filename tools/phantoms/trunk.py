"""What differs between two trunks in CT, drawn in one place, and which part of one a picture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Hounsfield units by tissue and their spread between people
HU: dict[str, tuple[float, float]] = {
    "skin": (20.0, 10.0), "fat": (-103.0, 6.0), "muscle": (56.0, 6.0), "cortical": (560.0, 60.0),
    "marrow": (205.0, 30.0), "lung": (-855.0, 20.0), "liver": (106.0, 9.0), "spleen": (118.0, 8.0),
    "cortex": (172.0, 14.0), "medulla": (135.0, 12.0), "urine": (8.0, 4.0), "blood": (145.0, 25.0), "wall": (75.0, 9.0),
}  # fmt: skip
REGIONS = ("chest", "abdomen", "pelvis")
LEVELS = {"chest": 0.3, "abdomen": 0.55, "pelvis": 0.8}  # how far down the trunk, 0 to 1
WALL = (165.0, 112.0)  # half axes along x and y of the skin, without the individual fat, in mm

#: tissues that lesions grow in, as marked by the painter; 0 is everything else
HOSTS = ("other", "fat", "muscle", "under skin", "bone", "lung", "liver", "kidney")


@dataclass(frozen=True)
class Loop:
    """A loop of bowel: its ends (z, y, x) and radius in mm, Hounsfield units of its content."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    content: float


@dataclass(frozen=True)
class Trunk:
    """One person. Lengths in mm.

    Attributes:
        scale: size along y and x relative to the common anatomy.
        warp: coarse noise (2, 1, 6, 6), the smooth individual deformation in plane.
        fat: thickness of the fat under the skin.
        tissue: Hounsfield units by tissue.
        moves: displacements (12, 2) along y and x of organs and vessels.
        height: where along z the organs lie against the key slice.
        loops: of bowel.
        streaks: ends (N, 2, 3) and radii (N,) of the small vessels in fat and lungs, about the middle of the picture.
    """

    scale: np.ndarray
    warp: np.ndarray
    fat: float
    tissue: dict[str, float]
    moves: np.ndarray
    height: float
    loops: tuple[Loop, ...]
    streaks: tuple[np.ndarray, np.ndarray]


def sample_trunk(rng: np.random.Generator) -> Trunk:
    """Draw one person."""
    tissue = {name: float(rng.normal(*spread)) for name, spread in HU.items()}
    count = int(rng.integers(18, 30))
    middles = rng.uniform(-75, 75, (count, 3)) * (0.15, 1, 1)
    ways = rng.standard_normal((count, 3))
    ways *= rng.uniform(10, 45, (count, 1)) / np.linalg.norm(ways, axis=1, keepdims=True)
    return Trunk(
        scale=rng.normal(0.95, 0.05) * rng.normal(1.0, 0.03, 2),
        warp=rng.standard_normal((2, 1, 6, 6), dtype=np.float32),
        fat=float(rng.uniform(10.0, 30.0)),
        tissue=tissue,
        moves=np.clip(rng.normal(0.0, 4.0, (12, 2)), -8, 8),
        height=float(rng.uniform(-28.0, 28.0)),
        loops=tuple(_sample_loop(rng) for _ in range(int(rng.integers(14, 22)))),
        streaks=(np.stack([middles - ways, middles + ways], axis=1), rng.uniform(0.6, 1.9, count)),
    )


def _sample_loop(rng: np.random.Generator) -> Loop:
    """In the front half of the belly, lying in any direction."""
    start = np.array([rng.uniform(-30, 30), rng.uniform(-75, 10), rng.uniform(-105, 105)])
    content = rng.choice([rng.uniform(30.0, 80.0), rng.uniform(0.0, 30.0), -850.0], p=[0.6, 0.25, 0.15])
    return Loop(start, start + rng.normal(0.0, 26.0, 3), float(rng.uniform(8.0, 13.0)), float(content))


#: coarse lesion type: (region, host tissue, middle (y, x) of the picture and how far it varies), one drawn
PLACES: dict[int, tuple[tuple[str, str, tuple[float, float], tuple[float, float]], ...]] = {
    1: (
        ("chest", "bone", (38, 0), (10, 18)),
        ("abdomen", "bone", (38, 0), (10, 18)),
        ("pelvis", "bone", (35, 62), (10, 10)),
    ),
    2: (("abdomen", "fat", (-18, 40), (12, 22)),),
    3: (("chest", "fat", (0, 8), (12, 12)),),
    4: (("abdomen", "liver", (-8, -72), (14, 14)),),
    5: (("chest", "lung", (-2, 76), (22, 14)),),
    6: (("abdomen", "kidney", (38, 62), (8, 8)),),
    7: (
        ("chest", "muscle", (66, 70), (8, 14)),
        ("abdomen", "under skin", (70, 84), (8, 10)),
        ("pelvis", "muscle", (62, 72), (8, 10)),
    ),
    8: (("pelvis", "fat", (-2, 40), (12, 14)),),
}


@dataclass(frozen=True)
class View:
    """What a picture shows: the region, its middle (y, x) in mm, and the tissue that its first lesion is in."""

    region: str
    host: str
    middle: tuple[float, float]


def sample_view(rng: np.random.Generator, kind: int) -> View:
    """Draw what the picture of a lesion of coarse type `kind` (1 to 8) shows; the liver is on the right side only."""
    region, host, middle, spread = PLACES[kind][int(rng.integers(len(PLACES[kind])))]
    y, x = np.array(middle) + rng.uniform(-1, 1, 2) * spread
    return View(region, host, (float(y), float(x if kind == 4 or rng.random() < 0.5 else -x)))
