"""What differs between two abdomens, drawn in one place, and where a voxel lies in the common anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tools.phantoms.fields import smooth_field

#: Hounsfield units by tissue and their spread between people
HU: dict[str, tuple[float, float]] = {
    "skin": (20.0, 10.0), "fat": (-105.0, 6.0), "muscle": (58.0, 6.0), "bone": (420.0, 60.0), "marrow": (170.0, 30.0),
    "liver": (112.0, 10.0), "spleen": (122.0, 8.0), "cortex": (185.0, 15.0), "medulla": (150.0, 15.0),
    "urine": (10.0, 5.0), "artery": (150.0, 15.0), "vein": (160.0, 12.0), "bile": (8.0, 5.0), "wall": (92.0, 10.0),
    "pancreas": (96.0, 9.0),
}  # fmt: skip
#: axis and radius of the pancreas from head to tail, in mm: x to the right, y forwards, z upwards
PANCREAS = ((34, 14, -20, 13), (22, 16, -4, 13), (8, 20, 4, 9), (-18, 14, 12, 10), (-46, -4, 20, 10), (-74, -18, 27, 8))


@dataclass(frozen=True)
class Abdomen:
    """One person. Lengths in mm.

    Attributes:
        scale: size along x, y, z relative to the common anatomy.
        shift: position in the field of view.
        warp: coarse noise (3, 6, 6, 6), the smooth individual deformation.
        belly: thickness of the fat under the skin.
        tissue: Hounsfield units by tissue.
        texture: coarse noise (1, 24, 24, 24), unevenness of the organs and lobules of the pancreas.
        rise: how much higher the pancreas lies than in the common anatomy.
        bends: individual displacement of the points of its axis (6, 3).
        girth: thickness of the pancreas relative to the common anatomy.
        loops: bowel loops, each start (3), end (3), radius, and HU of the content.
        cysts: of the liver, each centre (3) and radius.
        stomach: HU of its content, and height (y) above which it holds air.
        tumour: centre (3), radii (3) and darkness against the pancreas in HU.
        duct: radius of the dilated duct behind the tumour; 0 for none.
    """

    scale: np.ndarray
    shift: np.ndarray
    warp: np.ndarray
    belly: float
    tissue: dict[str, float]
    texture: np.ndarray
    rise: float
    bends: np.ndarray
    girth: float
    loops: tuple[tuple[np.ndarray, np.ndarray, float, float], ...]
    cysts: tuple[tuple[np.ndarray, float], ...]
    stomach: tuple[float, float]
    tumour: tuple[np.ndarray, np.ndarray, float]
    duct: float


def sample_abdomen(rng: np.random.Generator) -> Abdomen:
    """Draw one person with a tumour in head, body or tail of the pancreas."""
    rise, bends = rng.uniform(-12.0, 12.0), rng.normal(0.0, 3.5, (len(PANCREAS), 3))
    axis = np.array(PANCREAS, dtype=float)[:, :3] + bends + (0, 0, rise)
    place = rng.uniform(0.0, 1.6) if rng.random() < 0.6 else rng.uniform(1.6, len(PANCREAS) - 1.0)
    first = int(place)
    centre = axis[first] + (place - first) * (axis[min(first + 1, len(axis) - 1)] - axis[first])
    return Abdomen(
        scale=rng.normal(1.0, 0.05) * rng.normal(1.0, 0.04, 3),
        shift=rng.normal(0.0, (8.0, 6.0, 10.0)),
        warp=rng.standard_normal((3, 6, 6, 6), dtype=np.float32),
        belly=float(rng.uniform(8.0, 30.0)),
        tissue={name: float(rng.normal(*spread)) for name, spread in HU.items()},
        texture=rng.standard_normal((1, 24, 24, 24), dtype=np.float32),
        rise=float(rise),
        bends=bends,
        girth=float(rng.uniform(0.8, 1.15)),
        loops=tuple(_sample_loop(rng) for _ in range(int(rng.integers(28, 42)))),
        cysts=tuple(
            (np.array([60.0, 10.0, 60.0]) + rng.uniform(-40, 40, 3), float(rng.uniform(5.0, 12.0)))
            for _ in range(int(rng.integers(0, 4)))
        ),
        stomach=(float(rng.uniform(15.0, 70.0)), float(rng.uniform(52.0, 80.0))),
        tumour=(
            centre + rng.normal(0.0, 3.0, 3),
            rng.uniform(8.0, 17.0) * rng.uniform(0.8, 1.2, 3),
            rng.uniform(22, 45),
        ),
        duct=float(rng.uniform(2.0, 3.5)) if rng.random() < 0.6 else 0.0,
    )


def _sample_loop(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Anywhere in front of and below the pancreas, its content often as bright as the pancreas."""
    start = np.array([rng.uniform(-95.0, 95.0), rng.uniform(15.0, 75.0), rng.uniform(-130.0, -5.0)])
    content = rng.choice([rng.uniform(70.0, 105.0), rng.uniform(0.0, 40.0), -850.0], p=[0.6, 0.3, 0.1])
    return start, start + rng.normal(0.0, 28.0, 3), float(rng.uniform(9.0, 15.0)), float(content)


def abdomen_coordinates(abdomen: Abdomen, shape: Sequence[int], spacing: Sequence[float]) -> torch.Tensor:
    """Coordinates (3, X, Y, Z) of every voxel in the common anatomy, in mm; see `head_coordinates`."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    points = 4.0 * smooth_field(abdomen.warp, shape)
    for axis, (line, scale, shift) in enumerate(zip(axes, abdomen.scale, abdomen.shift, strict=True)):
        places = [1, 1, 1]
        places[axis] = len(line)
        points[axis] += ((line - float(shift)) / float(scale)).reshape(places)
    return points
