"""What differs between two heads, drawn in one place, and where a voxel lies in the common anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tools.phantoms.fields import smooth_field

FOLD_EXTENT = 100.0  # mm; the folding noise covers a cube from -100 to 100 mm
FOLD_CELLS = 52

# Relative brightness in a T1-weighted scan and its spread between people.
T1 = {
    "air": (0.02, 0.0),
    "skin": (0.42, 0.04),
    "fat": (0.92, 0.06),
    "muscle": (0.36, 0.03),
    "bone": (0.07, 0.02),
    "marrow": (0.58, 0.08),
    "csf": (0.14, 0.02),
    "grey": (0.47, 0.02),
    "white": (0.73, 0.02),
    "nuclei": (0.54, 0.02),
    "thalamus": (0.60, 0.02),
    "pallidum": (0.68, 0.02),
    "stem": (0.68, 0.02),
    "eye": (0.17, 0.02),
    "lens": (0.45, 0.04),
    "vein": (0.85, 0.05),
}


@dataclass(frozen=True)
class Head:
    """One person. Lengths in mm, angles in radians; left and right are the person's own.

    Attributes:
        scale: size along x, y, z relative to the common anatomy.
        angles: tilt about x, y, z.
        shift: position of the head in the field of view.
        warp: coarse noise (3, 6, 7, 6), the smooth individual deformation.
        torque: how far the right half lies in front of the left half.
        bend: how far the midline bends towards the right at the back.
        ventricles: size of the left and the right lateral ventricle.
        sylvian: backward end of the left and the right Sylvian fissure (y).
        sylvian_rise: how far that end turns upwards, left and right.
        cortex: thickness of the cortex.
        sulcus: half the width of a sulcus.
        sulcus_depth: depth of a sulcus.
        folds: white noise (52, 52, 52) that lays out the sulci of this person.
        skull: thickness of the skull.
        scalp: thickness of the scalp.
        frontal_sinus: where the frontal sinus is widest (x).
        texture: coarse noise (1, 14, 16, 14), unevenness of the tissues.
        tissue: brightness by tissue.
    """

    scale: np.ndarray
    angles: np.ndarray
    shift: np.ndarray
    warp: np.ndarray
    torque: float
    bend: float
    ventricles: tuple[float, float]
    sylvian: tuple[float, float]
    sylvian_rise: tuple[float, float]
    cortex: float
    sulcus: float
    sulcus_depth: float
    folds: np.ndarray
    skull: float
    scalp: float
    frontal_sinus: float
    texture: np.ndarray
    tissue: dict[str, float]


def sample_head(rng: np.random.Generator) -> Head:
    """Draw one person."""
    size = rng.normal(1.0, 0.025)
    ventricles = rng.lognormal(0.0, 0.22)
    return Head(
        scale=size * rng.normal(1.0, 0.02, 3),
        angles=rng.normal(0.0, (0.09, 0.05, 0.07)),
        shift=rng.normal(0.0, (3.0, 3.0, 3.0)),
        warp=rng.standard_normal((3, 6, 7, 6), dtype=np.float32),
        torque=rng.uniform(4.0, 8.0),
        bend=rng.uniform(2.0, 6.0),
        ventricles=(ventricles * rng.uniform(1.1, 1.3), ventricles * rng.uniform(0.8, 0.95)),
        sylvian=(rng.uniform(-42.0, -34.0), rng.uniform(-26.0, -18.0)),
        sylvian_rise=(rng.uniform(2.0, 6.0), rng.uniform(12.0, 18.0)),
        cortex=rng.uniform(3.2, 4.0),
        sulcus=rng.uniform(0.5, 1.1),
        sulcus_depth=rng.uniform(16.0, 22.0),
        folds=rng.standard_normal((FOLD_CELLS,) * 3, dtype=np.float32),
        skull=rng.uniform(6.0, 8.5),
        scalp=rng.uniform(4.5, 8.0),
        frontal_sinus=rng.uniform(4.0, 10.0),
        texture=rng.standard_normal((1, 14, 16, 14), dtype=np.float32),
        tissue={name: float(rng.normal(mean, spread)) for name, (mean, spread) in T1.items()},
    )


def head_coordinates(head: Head, shape: Sequence[int], spacing: Sequence[float]) -> torch.Tensor:
    """Place the head in a field of view.

    Args:
        head: the person.
        shape: voxels along right, anterior, superior.
        spacing: voxel size along these axes, in mm.

    Returns:
        Coordinates (3, X, Y, Z) of every voxel in the common anatomy, in mm: x to the right, y forwards, z upwards.
    """
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    centre = np.array([0.0, 3.0, -12.0]) - head.shift
    turn = _rotation(head.angles).T / head.scale[:, None]
    points = 2.5 * smooth_field(head.warp, shape)
    for row in range(3):
        a, b, c = (float(v) for v in turn[row])
        points[row] += a * axes[0][:, None, None] + b * axes[1][:, None] + (c * axes[2] + float(turn[row] @ centre))
    x, y, _ = points
    x -= head.bend * torch.sigmoid((-y - 45) / 10)
    y -= head.torque * 0.5 * torch.tanh(x / 12)
    return points


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
