"""A set of generated lung nodules with malignancies, in the layout of the published crops of LIDC-IDRI."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tools.phantoms.canvas import Canvas, Points, blur, ellipsoid, noise, smooth_field, smooth_union
from tools.phantoms.store import write_cases, write_table

VERSION = 3  # of the generator: a change of the images needs a new number, so that stored sets are written again
SHARES = (0.25, 0.25, 0.1, 0.2, 0.2)  # of the malignancies 1 to 5
COUNTS = (1, 2, 1, 3, 1, 2, 1, 2, 1, 3)  # nodules per scan, over and over
WINDOW = (-1000.0, 400.0)  # Hounsfield units stored as 0 and 255
TESTED, REPEATED = 0.2, 0.07  # fractions of the nodules in the test split, and of those listed twice
VARIATION = 5  # voxels that the edges of crops differ by
AIR, FAT, MUSCLE, BONE = -990.0, -100.0, 45.0, 350.0

#: median diameter in mm, and the chances of the signs that a radiologist looks for, by malignancy 1 to 5
SIZES = (7.5, 8.0, 8.8, 9.9, 10.7)
SIGNS = {
    "spiculated": (0.02, 0.08, 0.3, 0.7, 0.9),
    "calcified": (0.45, 0.2, 0.08, 0.03, 0.02),
    "smooth": (0.95, 0.8, 0.5, 0.2, 0.08),
    "lobulated": (0.1, 0.2, 0.4, 0.6, 0.7),
    "part solid": (0.04, 0.1, 0.2, 0.28, 0.25),
    "ground glass": (0.05, 0.1, 0.12, 0.08, 0.03),
    "cavity": (0.02, 0.03, 0.05, 0.1, 0.12),
}


class Nodule(NamedTuple):
    """A nodule of a set: patient, scan and number in the scan, from 1, and malignancy."""

    patient: int
    scan: int
    roi: int
    malignancy: int

    @property
    def name(self) -> str:
        """File name without suffix."""
        return f"lidc{self.scan}_{self.roi}"


def nodule_phantoms(folder: str, num_patients: int = 60, size: int = 64, seed: int = 0) -> str:
    """Write a folder of generated lung nodules unless it exists.

    ``nodule/lidc<scan>_<roi>.npz`` holds "voxel" (1 mm, HU from -1000 to 400 as 0 to 255) and "answer1" (the nodule's
    mask), ``info/lidc_nodule_info_new_with_subset.csv`` the patient ("uid") and malignancy (1 to 5) of each.
    ``train_test_split.csv`` has the problems of the published one: it splits by nodule and has duplicate rows.
    The first patient has two scans.

    Args:
        folder: the data folder.
        num_patients: number of patients, of 1.7 nodules each.
        size: longest edge of a crop in voxels; edges are up to 4 shorter.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "nodules", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}
    nodules = list_nodules(seed, num_patients)

    def write_nodule(target: Path, number: int) -> list[object]:
        nodule = nodules[number]
        voxels, mask, diameter = nodule_crop(seed, nodule, size)
        np.savez_compressed(target / f"nodule/{nodule.name}.npz", voxel=voxels, answer1=mask)
        patient, scan = f"LIDC-IDRI-{nodule.patient:04d}", f"lidc{nodule.scan}"
        return [nodule.name, patient, scan, nodule.roi, mask.sum(), f"{diameter:.2f}", nodule.malignancy]

    def finish(target: Path, rows: list) -> None:
        header = ["index", "uid", "name", "roi", "volume", "diameter_mm", "malignancy_mode"]
        write_table(target / "info/lidc_nodule_info_new_with_subset.csv", [header, *rows])
        write_table(target / "train_test_split.csv", _published_split(seed, [nodule.name for nodule in nodules]))

    return write_cases(folder, recipe, write_nodule, len(nodules), finish, ("nodule", "info"))


def list_nodules(seed: int, num_patients: int) -> list[Nodule]:
    """List the nodules of a set; malignancies are spread evenly, so that small sets have all values."""
    offset = np.random.default_rng(seed).random()
    scans = [(patient, patient) for patient in range(1, num_patients + 1)] + [(1, num_patients + 1)]
    found: list[Nodule] = []
    for patient, scan in scans:
        for roi in range(1, COUNTS[scan % len(COUNTS)] + 1):
            rank = (offset + 0.6180339887 * len(found)) % 1
            found.append(Nodule(patient, scan, roi, 1 + int(np.searchsorted(np.cumsum(SHARES)[:-1], rank))))
    return found


def nodule_crop(seed: int, nodule: Nodule, size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Voxels from 0 to 255 and mask, both (D, H, W) uint8, and diameter in mm of a nodule of the set of a seed."""
    rng = np.random.default_rng((seed, nodule.scan, nodule.roi))
    scan = np.random.default_rng((seed, nodule.scan))  # nodules of a scan share lung, contrast agent, kernel and noise
    blood = scan.uniform(20, 60) if scan.random() < 0.5 else scan.uniform(90, 220)
    sharp, slices, spread = scan.uniform((0.45, 0.5, 12), (0.75, 1.1, 45))
    shape = tuple(int(edge) for edge in size - rng.integers(0, VARIATION, 3))
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) - n // 2 for n in shape), indexing="ij")
    texture = smooth_field(rng, (6, 6, 6), shape) + 0.8 * noise(rng, shape, 1.2)
    canvas = Canvas((z, y, x), scan.normal(-855, 22) + scan.uniform(12, 35) * texture + 0.6 * y, edge=1.2)
    diameter = float(np.clip(SIZES[nodule.malignancy - 1] * np.exp(0.33 * rng.standard_normal()), 4.0, 26.0))
    _paint_vessels(rng, canvas, diameter / 2, blood)
    mask = _paint_nodule(rng, canvas, nodule.malignancy, diameter / 2)
    _paint_wall(rng, canvas, diameter / 2)
    units = blur(canvas.volume, (slices, sharp, sharp)) + spread * noise(rng, shape, 0.6)
    voxels = ((units - WINDOW[0]) * (255 / (WINDOW[1] - WINDOW[0]))).clamp(0, 255).round().to(torch.uint8)
    return voxels.numpy(), mask.numpy().astype(np.uint8), diameter


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw unit vectors (N, 3)."""
    vectors = rng.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _paint_vessels(rng: np.random.Generator, canvas: Canvas, radius: float, blood: float) -> None:
    """Paint forked vessels that pass by and vessels that end in the nodule."""
    for _ in range(int(rng.integers(7, 16))):
        heading, width = _directions(rng, 1)[0], float(np.clip(0.5 + rng.exponential(0.45), 0.5, 2.6))
        beside = np.cross(heading, _directions(rng, 1)[0])
        beside *= (radius + rng.uniform(2.0, 24.0)) / np.linalg.norm(beside)
        start = beside + (rng.uniform(-15, 15) - 45) * heading
        fork = start + 45 * heading + rng.normal(0, 1.5, 3)
        canvas.paint_rod(start, fork, (1.2 * width, width), blood)
        canvas.paint_rod(fork, fork + 45 * (heading + rng.normal(0, 0.35, 3)), (0.9 * width, 0.5 * width), blood)
        canvas.paint_rod(fork, fork + 40 * (heading + rng.normal(0, 0.7, 3)), (0.7 * width, 0.3 * width), blood)
    for way in _directions(rng, int(rng.choice(3, p=(0.45, 0.4, 0.15)))):
        width = rng.uniform(0.6, 1.5)
        canvas.paint_rod(np.zeros(3), 60 * way + rng.normal(0, 8, 3), (width, 1.3 * width), blood)


def _paint_nodule(rng: np.random.Generator, canvas: Canvas, malignancy: int, radius: float) -> torch.Tensor:
    """Paint a nodule in the middle with the signs drawn for its malignancy; returns its mask.

    Malignant nodules are often larger, spiculated, lobulated, ill-defined or part-solid; benign ones are often small,
    smooth, sharp or calcified. No sign alone determines the malignancy.
    """
    signs = {name: rng.random() < chances[malignancy - 1] for name, chances in SIGNS.items()}
    hazy = signs["ground glass"] or signs["part solid"]
    density = rng.uniform(-640, -440) if hazy else rng.uniform(0, 70)
    edge = rng.uniform(0.8, 1.3) if signs["smooth"] else rng.uniform(1.8, 3.5)
    grain = noise(rng, canvas.volume.shape, 1.5)
    rough = (rng.uniform(0.0, 0.3) if signs["smooth"] else rng.uniform(0.5, 1.1)) * min(1.0, radius / 4)
    lobes = int(rng.integers(2, 6)) if signs["lobulated"] else 0
    distance = _surface(rng, canvas.points, radius, lobes) + rough * grain
    for way in _directions(rng, int(rng.integers(12, 26) if signs["spiculated"] else rng.integers(0, 3))):
        tip = (radius * rng.uniform(1.0, 1.5) + rng.uniform(2.5, 5.5)) * (way + rng.normal(0, 0.12, 3))
        canvas.paint_rod(0.6 * radius * way, tip, (rng.uniform(1.1, 1.7), 0.4), max(density, -250.0))
    Canvas(canvas.points, canvas.volume, edge).paint(
        distance, torch.maximum(density + 20 * grain, 0.3 * canvas.volume + 0.7 * density)
    )
    if signs["part solid"]:
        canvas.paint(distance + rng.uniform(0.35, 0.65) * radius, rng.uniform(-60, 50))
    if signs["calcified"] and not hazy:
        canvas.paint(_calcium(rng, distance, grain, radius), rng.uniform(300, 900))
    if signs["cavity"] and radius > 5:
        centre = 0.25 * radius * _directions(rng, 1)[0]
        canvas.paint(ellipsoid(canvas.points, centre, [rng.uniform(0.3, 0.5) * radius] * 3) + 0.5 * grain, AIR + 60)
    return distance < 0


def _surface(rng: np.random.Generator, points: Points, radius: float, lobes: int) -> torch.Tensor:
    """Distance to a randomly rotated ellipsoid with lobes."""
    turn, axes = np.linalg.qr(rng.standard_normal((3, 3)))[0].tolist(), rng.uniform(0.8, 1.25, 3).tolist()
    ways = [sum(p * w for p, w in zip(points, way, strict=True)) for way in turn]
    distance = sum((way / axis) ** 2 for way, axis in zip(ways, axes, strict=True)).sqrt() - radius
    for way in _directions(rng, lobes):
        lobe = ellipsoid(points, 0.75 * radius * way, [rng.uniform(0.4, 0.6) * radius] * 3)
        distance = smooth_union(distance, lobe, 0.15 * radius)
    return distance


def _calcium(rng: np.random.Generator, distance: torch.Tensor, grain: torch.Tensor, radius: float) -> torch.Tensor:
    """Distance to the calcified part: a central, diffuse, popcorn or shell pattern."""
    inside, shell = distance + 0.5, (distance + 0.2 * radius).abs() - 1.0
    popcorn, shell = torch.maximum(inside, 0.5 - 2 * grain), torch.maximum(inside, shell)
    return (distance + 0.55 * radius, inside, popcorn, shell)[rng.choice(4)]


def _paint_wall(rng: np.random.Generator, canvas: Canvas, radius: float) -> None:
    """Paint the chest wall in 45 % of the crops, touching the nodule or not, independent of the malignancy."""
    if rng.random() > 0.45:
        return
    way = _directions(rng, 1)[0] * (0.3, 1.0, 1.0)
    way /= np.linalg.norm(way)
    distance = radius * rng.uniform(0.4, 0.95) if rng.random() < 0.4 else radius + rng.uniform(2.0, 20.0)
    bend = rng.uniform(55.0, 160.0)
    behind = -ellipsoid(canvas.points, (distance - bend) * way, [bend] * 3)  # negative behind the pleura
    canvas.paint(behind, MUSCLE)
    canvas.paint(torch.maximum(behind + 1.0, -(behind + 3.5)), FAT)
    if rng.random() < 0.6:
        side = np.cross(way, _directions(rng, 1)[0])
        side, middle = 50 * side / np.linalg.norm(side), (distance + rng.uniform(9.0, 13.0)) * way
        canvas.paint_rod(middle - side, middle + side, rng.uniform(3.5, 5.5), BONE)


def _published_split(seed: int, names: Sequence[str]) -> Iterable[list[object]]:
    """Yield the rows of a split by nodule with some test rows repeated."""
    rng = np.random.default_rng((seed, 0, 1))
    order = [f"{names[i]}.npz" for i in rng.permutation(len(names))]
    count = max(1, round(TESTED * len(names)))
    test, train = order[:count], order[count:]
    test += test[: max(1, round(REPEATED * count))]
    yield ["", "train", "test"]
    for number, name in enumerate(train):
        yield [number, name, test[number] if number < len(test) else ""]
