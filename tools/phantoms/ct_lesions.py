"""Lesions in a CT slab, and tubes with the same appearance in the key slice that continue in its neighbours."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from tools.phantoms.canvas import Canvas
from tools.phantoms.trunk import HOSTS, View

SIZES = {1: 17.0, 2: 23.0, 3: 20.0, 4: 24.0, 5: 16.5, 6: 21.0, 7: 21.0, 8: 23.0}  # median diameter in mm by type
SPREAD, LIMITS = 0.38, (8.0, 48.0)  # of the diameter: spread of its logarithm, range
LARGEST = 0.36  # diameter relative to the field of view
THINNEST = 4.5  # half axis across the slices in mm, so that slices of 5 mm show it
SLIMMER = 0.9  # tubes are a little thinner than lesions
MORE = (0.6, 0.25, 0.15)  # fractions of key slices with 1, 2 and 3 lesions, if there is space
MARGIN = 7  # least number of pixels between a lesion, or a tube, and the edge of the slice
KEEP_OFF = 2.0  # mm between two bodies
TYPE_IN = {"bone": 1, "liver": 4, "lung": 5, "kidney": 6, "muscle": 7, "under skin": 7}
TYPE_IN_FAT = {"chest": 3, "abdomen": 2, "pelvis": 8}
#: lowest and highest Hounsfield units, of dark and of bright lesions
UNITS = {
    "bone": ((20, 80), (480, 800)), "liver": ((0, 45), (155, 195)), "kidney": ((0, 65), (0, 65)),
    "muscle": ((-55, -5), (115, 165)),
}  # fmt: skip


@dataclass(frozen=True)
class Blob:
    """Ellipsoid, or a tube across the slices; lengths in mm about the middle of the key slice.

    `centre` is (z, y, x). `axes` and `angle` (radians from x) are in the plane; `depth` is the half axis across the
    slices (infinite for a tube). `tilt` is the shift along y and x per mm of z. The margin of width `edge` has `units`
    Hounsfield units; `core` is the difference between centre and margin.
    """

    kind: int
    centre: np.ndarray
    axes: tuple[float, float]
    angle: float
    depth: float
    tilt: np.ndarray
    units: float
    core: float
    edge: float

    @property
    def radius(self) -> float:
        """Radius of the circle with the same area in the plane."""
        return float(np.sqrt(self.axes[0] * self.axes[1]))

    def diameters(self) -> np.ndarray:
        """Ends (4, 2) along y and x of the long and the short diameter in the key slice."""
        z = -self.centre[0]
        along = np.array([np.sin(self.angle), np.cos(self.angle)])
        ways = np.stack([self.axes[0] * along, self.axes[1] * along[::-1] * (1, -1)])
        ways *= np.sqrt(1 - (z / self.depth) ** 2)
        return self.centre[1:] + self.tilt * z + np.stack([ways[0], -ways[0], ways[1], -ways[1]])


def sample_blob(rng: np.random.Generator, kind: int, host: str, field: float, tube: bool) -> Blob:
    """Draw a lesion of a coarse type (1 to 8) in a host tissue, or the tube that resembles it, at the origin.

    `field` is the edge of the slice in mm.
    """
    diameter = float(np.clip(SIZES[kind] * np.exp(SPREAD * rng.standard_normal()), *LIMITS))
    radius = min(diameter, LARGEST * field) / 2 * (SLIMMER if tube else 1.0)
    slimness = rng.uniform(0.58, 0.98)
    depth = max(THINNEST, radius * np.sqrt(slimness) * rng.uniform(0.75, 1.1))
    units = UNITS.get(host, ((20, 95),) * 2)[int(rng.random() > 0.75)]
    return Blob(
        kind=kind,
        centre=np.array([0.0 if tube else rng.uniform(-0.25, 0.25) * depth, 0.0, 0.0]),
        axes=(radius, radius * slimness),
        angle=float(rng.uniform(0, np.pi)),
        depth=np.inf if tube else float(depth),
        tilt=rng.normal(0, 0.25, 2),
        units=float(rng.uniform(*units)),
        core=float(rng.normal(-6, 6) if radius < 8 else rng.normal(-14, 12)),
        edge=float(rng.uniform(1.5, 3.0)),
    )


def place_blobs(
    rng: np.random.Generator, view: View, codes: np.ndarray, axis: np.ndarray
) -> tuple[list[Blob], list[Blob]]:
    """Draw lesions and tubes at free positions of a key slice (H, W) of `HOSTS` codes; none if the first does not fit.

    `axis` is the position of the pixels along y and x in mm. The first lesion is in the host tissue of the view.
    """
    spacing, field = float(axis[1] - axis[0]), float(axis[-1] - axis[0])
    masks = {name: np.abs(codes - code) < 0.01 for code, name in enumerate(HOSTS) if code > 0}
    present = [name for name, mask in masks.items() if mask.mean() > 0.03] or [view.host]
    room = np.full(codes.shape, np.inf)  # distance to the nearest body

    def place(host: str, tube: bool) -> Iterable[Blob]:
        blob = sample_blob(rng, TYPE_IN_FAT[view.region] if host == "fat" else TYPE_IN[host], host, field, tube)
        reach = 1.05 * blob.axes[0]
        inside = np.abs(axis) <= axis.max() - reach - MARGIN * spacing
        free = (distance_transform_edt(masks[host]) * spacing >= 0.75 * blob.radius) & (room > reach)
        spots = np.argwhere(free & inside & inside[:, None])
        if len(spots):
            y, x = axis[spots[int(rng.integers(len(spots)))]]
            apart = np.hypot(axis[:, None] - y, axis - x)
            np.minimum(room, apart - reach - KEEP_OFF, out=room)
            yield replace(blob, centre=np.array([blob.centre[0], y, x]))

    lesions = list(place(view.host, tube=False))
    if not lesions:
        return [], []
    more = [view.host if rng.random() < 0.6 else str(rng.choice(present)) for _ in range(rng.choice(3, p=MORE))]
    lesions += [blob for host in more for blob in place(host, tube=False)]
    beside = [view.host, *more, *(str(rng.choice(present)) for _ in range(int(rng.integers(3))))]
    return lesions, [blob for host in beside for blob in place(host, tube=True)]


def paint_blob(canvas: Canvas, blob: Blob) -> None:
    """Paint a lesion or a tube over Hounsfield units (D, H, W) with coordinates z, y and x about the key slice."""
    z, y, x = (p - float(c) for p, c in zip(canvas.points, blob.centre, strict=True))
    y, x = (p - z * float(t) for p, t in zip((y, x), blob.tilt, strict=True))
    sine, cosine = float(np.sin(blob.angle)), float(np.cos(blob.angle))
    u, v = (y * sine + x * cosine) / blob.axes[0], (y * cosine - x * sine) / blob.axes[1]
    distance = ((u * u + v * v + (z / blob.depth) ** 2).sqrt() - 1) * blob.radius
    inside = (-2 * distance / blob.radius).clamp(0, 1)
    Canvas(canvas.points, canvas.volume, blob.edge).paint(distance, blob.units + blob.core * inside)
