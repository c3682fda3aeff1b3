"""Lesions in CT, and tubes that look the same in one slice but run on through the others, drawn in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from tools.phantoms.trunk import HOSTS, Trunk

SIZES = {1: 17.0, 2: 23.0, 3: 20.0, 4: 24.0, 5: 16.5, 6: 21.0, 7: 21.0, 8: 23.0}  # median diameter in mm by type
SPREAD = 0.38  # of the logarithm of the diameter
LIMITS = (8.0, 48.0)  # of the diameter
LARGEST = 0.36  # of the diameter, relative to the picture
THINNEST = 4.5  # half axis across the slices in mm, so that slices of 5 mm show it
SLIMMER = 0.9  # tubes are a little thinner than lesions
TYPE_IN = {"bone": 1, "liver": 4, "lung": 5, "kidney": 6, "muscle": 7, "under skin": 7}
TYPE_IN_FAT = {"chest": 3, "abdomen": 2, "pelvis": 8}
KEEP_OFF = 2.0  # mm between two bodies
HARMONICS = np.arange(2, 6)


@dataclass(frozen=True)
class Blob:
    """A lesion, or a tube across the slices. Lengths in mm about the middle of the picture.

    Its outline in plane is an ellipse whose radius varies with the angle as a sum of harmonics, which fade towards its
    ends across the slices.

    Attributes:
        centre: z, y and x.
        axes: long and short half axis in plane.
        angle: of the long axis, in radians.
        depth: half axis across the slices; infinite for a tube.
        tilt: how far it moves along y and x per mm of z (2,).
        bend: how far besides, per mm² (2,).
        waves: strength and phase of the harmonics (2, 4).
        twist: how far the harmonics turn per mm of z, in radians.
        units: Hounsfield units.
        core: difference of its middle from its margin, in Hounsfield units.
        edge: width of its margin.
    """

    centre: np.ndarray
    axes: tuple[float, float]
    angle: float
    depth: float
    tilt: np.ndarray
    bend: np.ndarray
    waves: np.ndarray
    twist: float
    units: float
    core: float
    edge: float

    @property
    def radius(self) -> float:
        """Radius of the circle of about its area in plane."""
        return float(np.sqrt(self.axes[0] * self.axes[1]))


def type_of(host: str, region: str) -> int:
    """Return the coarse lesion type of a lesion in a tissue of a region."""
    return TYPE_IN_FAT[region] if host == "fat" else TYPE_IN[host]


def sample_lesion(rng: np.random.Generator, kind: int, host: str, trunk: Trunk, field: float) -> Blob:
    """Draw a lesion whose middle is at 0 in plane; its middle across the slices is near the key slice.

    Args:
        rng: source of all chance.
        kind: coarse type, 1 to 8.
        host: the tissue it is in.
        trunk: the person.
        field: edge of the picture in mm.
    """
    diameter = float(np.clip(SIZES[kind] * np.exp(SPREAD * rng.standard_normal()), *LIMITS))
    radius = min(diameter, LARGEST * field) / 2
    slimness = rng.uniform(0.58, 0.98)
    depth = max(THINNEST, radius * np.sqrt(slimness) * rng.uniform(0.75, 1.1))
    return Blob(
        centre=np.array([rng.uniform(-0.25, 0.25) * depth, 0.0, 0.0]),
        axes=(radius, radius * slimness),
        angle=float(rng.uniform(0, np.pi)),
        depth=float(depth),
        tilt=rng.normal(0, 0.2, 2),
        bend=np.zeros(2),
        waves=_waves(rng),
        twist=float(rng.normal(0, 0.04)),
        units=_units(rng, host, trunk),
        core=float(rng.normal(-6, 6)) if radius < 8 else float(rng.normal(-14, 12)),
        edge=float(rng.uniform(1.5, 3.0)),
    )


def sample_tube(rng: np.random.Generator, kind: int, host: str, trunk: Trunk, field: float) -> Blob:
    """Draw a tube that could be a lesion of coarse type `kind` in the key slice; see `sample_lesion`."""
    twin = sample_lesion(rng, kind, host, trunk, field)
    tilt = rng.normal(0, 0.22, 2) * (2.5 if rng.random() < 0.2 else 1.0)
    axes = (SLIMMER * twin.axes[0], SLIMMER * twin.axes[1])
    return replace(twin, centre=np.zeros(3), axes=axes, depth=inf, tilt=tilt, bend=rng.normal(0, 0.008, 2))


def _waves(rng: np.random.Generator) -> np.ndarray:
    strength = np.abs(rng.normal(0, 0.16, len(HARMONICS))) / HARMONICS
    return np.stack([strength, rng.uniform(0, 2 * np.pi, len(HARMONICS))])


def _units(rng: np.random.Generator, host: str, trunk: Trunk) -> float:
    """Draw Hounsfield units that differ from those of the tissue around."""
    darker = rng.random() < 0.75
    tissue = trunk.tissue
    if host == "bone":
        return float(rng.uniform(20, 80) if darker else rng.uniform(480, 800))
    if host == "liver":
        return tissue["liver"] + float(rng.uniform(-110, -60) if darker else rng.uniform(50, 90))
    if host == "kidney":
        return tissue["medulla"] - float(rng.uniform(70, 140))
    if host == "muscle":
        return tissue["muscle"] + float(rng.uniform(-110, -60) if darker else rng.uniform(60, 110))
    return float(rng.uniform(20, 95))  # in fat or air


def outline(blob: Blob, count: int = 96) -> np.ndarray:
    """Points (N, 2) along y and x, in mm, of the outline of a blob in the key slice, at z = 0."""
    z = -blob.centre[0]
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    strength, phase = blob.waves
    waves = (strength * np.cos(HARMONICS * (angles[:, None] + blob.twist * z) + phase)).sum(1)
    beyond = (z / blob.depth) ** 2
    norm = np.ones(count)
    for _ in range(6):  # where the norm is 1 + waves as far as it lies in plane, as they are painted
        norm = 1 + waves * (1 - beyond / norm**2)
    reach = np.sqrt(np.clip(norm**2 - beyond, 0, None))
    u, v = blob.axes[0] * reach * np.cos(angles), blob.axes[1] * reach * np.sin(angles)
    sine, cosine = np.sin(blob.angle), np.cos(blob.angle)
    middle = blob.centre[1:] + blob.tilt * z + blob.bend * z * z
    return middle + np.stack([u * sine + v * cosine, u * cosine - v * sine], axis=1)


def recist(points: np.ndarray) -> np.ndarray:
    """Ends (4, 2) of the longest diameter of an outline (N, 2), and of the longest one at a right angle to it."""
    chords = points[:, None] - points
    lengths = np.linalg.norm(chords, axis=-1)
    first, second = np.unravel_index(int(lengths.argmax()), lengths.shape)
    way = chords[first, second] / lengths[first, second]
    level = np.abs(chords @ way) <= 0.08 * lengths  # at a right angle, as nearly as points allow
    third, fourth = np.unravel_index(int((lengths * level).argmax()), lengths.shape)
    return points[[first, second, third, fourth]]


class Site:
    """Where in the key slice there is room for another body.

    Args:
        clearance: distance of every pixel to the edge of its tissue (H, W), in mm.
        hosts: tissues (H, W), numbers in `HOSTS`.
        axis: position of the pixels along y and x (both, square picture), in mm.
    """

    def __init__(self, clearance: np.ndarray, hosts: np.ndarray, axis: np.ndarray) -> None:
        self.hosts = hosts
        self.axis = axis
        self.clearance = clearance
        self.room = np.full(hosts.shape, np.inf)  # distance to the nearest body

    def find(self, rng: np.random.Generator, host: str, blob: Blob, margin: float) -> Blob | None:
        """Move a body to a random place within a tissue and clear of others and the picture's edge.

        Args:
            rng: source of chance.
            host: name of the tissue.
            blob: the body, its middle at 0 in plane.
            margin: least distance of its edge from that of the picture, in mm.

        Returns:
            The body in its place, or None when there is no room.
        """
        reach = 1.15 * blob.axes[0]
        inside = np.abs(self.axis) <= self.axis.max() - reach - margin
        free = (self.hosts == HOSTS.index(host)) & (self.clearance >= 0.75 * blob.radius) & (self.room > reach)
        places = np.argwhere(free & inside & inside[:, None])
        if not len(places):
            return None
        row, column = places[int(rng.integers(len(places)))]
        centre = np.array([blob.centre[0], self.axis[row], self.axis[column]])
        apart = np.hypot(self.axis[:, None] - centre[1], self.axis - centre[2])
        self.room = np.minimum(self.room, apart - reach - KEEP_OFF)
        return replace(blob, centre=centre)
