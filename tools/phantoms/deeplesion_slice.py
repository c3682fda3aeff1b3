"""One key slice of the generated DeepLesion: which lesions it shows and where, and the slices around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt

from tools.phantoms.ct_lesion import Blob, Site, outline, recist, sample_lesion, sample_tube, type_of
from tools.phantoms.ct_lesion_painting import paint_blobs, sample_scanner, scan_slab, slab_grid
from tools.phantoms.trunk import HOSTS, LEVELS, WALL, Trunk, View, sample_trunk, sample_view
from tools.phantoms.trunk_painting import paint_trunk

INTERVALS = (5.0, 5.0, 1.0, 1.0, 2.0, 2.5)  # mm, drawn evenly
REACH = 12.0  # mm of slices on either side of the key slice
CUT = 0.1  # share of the key slices near an end of the scan
MORE = (0.6, 0.25, 0.15)  # shares of key slices with 1, 2 and 3 lesions, where there is room
TUBES = (0, 3)  # how many tubes are tried beside one per lesion, from and below
NOISY = 0.05  # share of the lesions measured badly
MARGIN = 7  # least number of pixels between a lesion, or a tube, and the edge of the picture


class Place(NamedTuple):
    """Which key slice: patient, study and series, from 1 on, type of its first lesion, and part (1, 2 or 3)."""

    patient: int
    study: int
    series: int
    kind: int
    part: int

    @property
    def name(self) -> str:
        """Name of the folder of its slices."""
        return f"{self.patient:06d}_{self.study:02d}_{self.series:02d}"


@dataclass(frozen=True)
class Finding:
    """A lesion as measured in the key slice.

    Attributes:
        ends: of its long and short diameter, x and y from 1 on, in pixels (4, 2).
        location: x, y and z in the body, 0 to 1.
        kind: coarse type, 1 to 8.
        noisy: whether it was measured badly.
    """

    ends: np.ndarray
    location: tuple[float, float, float]
    kind: int
    noisy: bool


@dataclass(frozen=True)
class KeySlice:
    """A key slice with its neighbours.

    Attributes:
        pixels: Hounsfield units of the slices, from head to feet, int16 (S, H, W).
        number: of the key slice.
        first: number of the first slice.
        spacing: edge of a pixel in mm.
        interval: between slices in mm.
        findings: lesions in the key slice.
        lesions: the same as they were painted.
        tubes: what looks like them in the key slice only.
    """

    pixels: np.ndarray
    number: int
    first: int
    spacing: float
    interval: float
    findings: tuple[Finding, ...]
    lesions: tuple[Blob, ...]
    tubes: tuple[Blob, ...]


def make_key_slice(seed: int, place: Place, size: int) -> KeySlice:
    """Make one key slice with its neighbours.

    Args:
        seed: seed of the set.
        place: which one.
        size: edge of a slice in pixels.
    """
    trunk = sample_trunk(np.random.default_rng((seed, place.patient)))
    rng = np.random.default_rng((seed, place.patient, place.study, place.series, 1))
    interval = float(rng.choice(INTERVALS))
    scanner = sample_scanner(rng, interval)
    sides = [int(REACH / interval)] * 2
    if rng.random() < CUT:
        sides[int(rng.integers(2))] //= 2
    grid = slab_grid(scanner, *sides, size)
    key = sides[0] * scanner.planes + scanner.planes // 2
    while True:  # a part of the trunk with room for the lesion: nearly always the first
        view = sample_view(rng, place.kind)
        volume, hosts = paint_trunk(trunk, view, grid, key)
        kinds, lesions, tubes = _sample_blobs(rng, trunk, view, hosts.numpy(), grid[1, 0, :, 0].numpy())
        if lesions:
            break
    paint_blobs(volume, [*tubes, *lesions], grid)
    spacing, number = scanner.spacing, int(rng.integers(20, 300))
    findings = (_measure(rng, *found, view, spacing, size) for found in zip(lesions, kinds, strict=True))
    return KeySlice(
        pixels=scan_slab(volume, scanner),
        number=number,
        first=number - sides[0],
        spacing=spacing,
        interval=interval,
        findings=tuple(findings),
        lesions=tuple(lesions),
        tubes=tuple(tubes),
    )


def _sample_blobs(
    rng: np.random.Generator, trunk: Trunk, view: View, hosts: np.ndarray, axis: np.ndarray
) -> tuple[list[int], list[Blob], list[Blob]]:
    """Draw types of lesions, lesions, and tubes in the tissues (H, W) of a key slice; none when there is no room."""
    spacing = float(axis[1] - axis[0])
    field = spacing * len(axis)
    present = [name for code, name in enumerate(HOSTS) if code > 0 and (hosts == code).mean() > 0.03] or [view.host]
    clearance = sum(distance_transform_edt(hosts == code) for code in np.unique(hosts) if code > 0) * spacing
    site = Site(clearance, hosts, axis)
    kinds, lesions, tubes = [], [], []
    wanted = [view.host]
    for _ in range(int(rng.choice(len(MORE), p=MORE))):
        wanted.append(view.host if rng.random() < 0.6 else str(rng.choice(present)))
    for host in wanted:
        kind = type_of(host, view.region)
        found = site.find(rng, host, sample_lesion(rng, kind, host, trunk, field), MARGIN * spacing)
        if found is not None:
            kinds.append(kind)
            lesions.append(found)
        elif not lesions:
            return [], [], []
    others = [str(rng.choice(present)) for _ in range(int(rng.integers(*TUBES)))]
    for host in [*wanted, *others]:
        tube = sample_tube(rng, type_of(host, view.region), host, trunk, field)
        found = site.find(rng, host, tube, MARGIN * spacing)
        tubes += [] if found is None else [found]
    return kinds, lesions, tubes


def _measure(rng: np.random.Generator, lesion: Blob, kind: int, view: View, spacing: float, size: int) -> Finding:
    """Measure a lesion's diameters in the key slice as a radiologist does, seldom badly."""
    ends = recist(outline(lesion))[:, ::-1] / spacing + (size + 1) / 2
    noisy = rng.random() < NOISY
    if noisy:
        middle = ends.mean(0)
        ends = middle + 0.6 * (ends - middle) + rng.uniform(-0.3, 0.3, 2) * lesion.radius / spacing
    else:
        ends = ends + rng.normal(0, 0.25, ends.shape).clip(-1, 1)
    _, y, x = lesion.centre
    across, down = (x + view.middle[1]) / (2 * WALL[0]) + 0.5, (y + view.middle[0]) / (2 * WALL[1]) + 0.5
    level = LEVELS[view.region] + rng.uniform(-0.1, 0.1)
    return Finding(ends, (float(across), float(down), float(level)), kind, bool(noisy))
