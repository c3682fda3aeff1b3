"""A tumour in the common anatomy of the head, and what it and the tissues look like in four MR contrasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from tools.phantoms.fields import blur, smooth_field
from tools.phantoms.head import Head
from tools.phantoms.shapes import Points, by_side, ellipsoid, mirror, rod

EDEMA, CORE, ENHANCING = 1, 2, 3

#: relative brightness by contrast in the order of the Decathlon's Task01; only what lies inside the skull is shown
CONTRASTS: dict[str, dict[str, tuple[float, float]]] = {
    "FLAIR": {
        "csf": (0.10, 0.02), "grey": (0.50, 0.03), "white": (0.40, 0.03), "nuclei": (0.46, 0.03),
        "thalamus": (0.45, 0.03), "pallidum": (0.38, 0.03), "stem": (0.41, 0.03), "vein": (0.14, 0.03),
    },
    "T1w": {
        "csf": (0.14, 0.02), "grey": (0.47, 0.02), "white": (0.68, 0.03), "nuclei": (0.52, 0.02),
        "thalamus": (0.57, 0.02), "pallidum": (0.62, 0.02), "stem": (0.64, 0.03), "vein": (0.30, 0.05),
    },
    "t1gd": {
        "csf": (0.14, 0.02), "grey": (0.49, 0.02), "white": (0.68, 0.03), "nuclei": (0.53, 0.02),
        "thalamus": (0.58, 0.02), "pallidum": (0.62, 0.02), "stem": (0.64, 0.03), "vein": (1.00, 0.08),
    },
    "T2w": {
        "csf": (0.95, 0.05), "grey": (0.55, 0.03), "white": (0.38, 0.03), "nuclei": (0.46, 0.03),
        "thalamus": (0.44, 0.03), "pallidum": (0.34, 0.03), "stem": (0.40, 0.03), "vein": (0.12, 0.03),
    },
}  # fmt: skip
#: brightness of oedema, core and enhancing tumour; they spread far and overlap with healthy tissue
TUMOUR: dict[str, tuple[tuple[float, float], ...]] = {
    "FLAIR": ((0.66, 0.08), (0.50, 0.12), (0.58, 0.10)),
    "T1w": ((0.55, 0.05), (0.36, 0.08), (0.50, 0.07)),
    "t1gd": ((0.56, 0.05), (0.36, 0.08), (0.86, 0.10)),
    "T2w": ((0.68, 0.08), (0.74, 0.12), (0.58, 0.10)),
}


@dataclass(frozen=True)
class Focus:
    """One tumour mass. Lengths in mm.

    Attributes:
        centre: in the common anatomy.
        radii: of the core along x, y and z.
        rim: thickness of the enhancing rim; 0 for a tumour that does not enhance.
        edema: how far the oedema reaches beyond the core.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    rim: float
    edema: float


@dataclass(frozen=True)
class Glioma:
    """The tumour of one person and how one scanner shows it.

    Attributes:
        foci: one mass, or two.
        ruggedness: coarse noise (2, 20, 20, 20) that makes outlines irregular, of core and oedema.
        edema, core, enhancing: brightness by contrast.
        tissue: brightness of healthy tissue, by contrast and name.
        old_lesions: coarse noise (1, 24, 24, 24), where white matter beside the ventricles is bright without tumour.
        mottle: coarse noise (1, 24, 24, 24), unevenness inside the tumour.
    """

    foci: tuple[Focus, ...]
    ruggedness: np.ndarray
    edema: dict[str, float]
    core: dict[str, float]
    enhancing: dict[str, float]
    tissue: dict[str, dict[str, float]]
    old_lesions: np.ndarray
    mottle: np.ndarray


def sample_glioma(rng: np.random.Generator) -> Glioma:
    """Draw a tumour: seven of ten enhance, one of six has a second focus."""
    side, enhances = rng.choice([-1.0, 1.0]), rng.random() < 0.7
    foci = [_sample_focus(rng, side, enhances, rng.uniform(10.0, 22.0))]
    if rng.random() < 1 / 6:
        foci.append(_sample_focus(rng, rng.choice([-1.0, 1.0]), enhances, rng.uniform(6.0, 11.0)))
    parts = {name: [float(rng.normal(*spread)) for spread in spreads] for name, spreads in TUMOUR.items()}
    return Glioma(
        foci=tuple(foci),
        ruggedness=rng.standard_normal((2, 20, 20, 20), dtype=np.float32),
        edema={name: values[0] for name, values in parts.items()},
        core={name: values[1] for name, values in parts.items()},
        enhancing={name: values[2] for name, values in parts.items()},
        tissue={
            contrast: {name: float(rng.normal(*spread)) for name, spread in table.items()}
            for contrast, table in CONTRASTS.items()
        },
        old_lesions=rng.standard_normal((1, 24, 24, 24), dtype=np.float32),
        mottle=rng.standard_normal((1, 24, 24, 24), dtype=np.float32),
    )


def _sample_focus(rng: np.random.Generator, side: float, enhances: bool, radius: float) -> Focus:
    centre = (side * rng.uniform(20.0, 46.0), rng.uniform(-55.0, 50.0), rng.uniform(-10.0, 42.0))
    radii = tuple(float(radius * factor) for factor in rng.uniform(0.75, 1.25, 3))
    return Focus(centre, radii, radius * rng.uniform(0.2, 0.5) if enhances else 0.0, rng.uniform(5.0, 20.0))


def displace(glioma: Glioma, coordinates: torch.Tensor) -> torch.Tensor:
    """Where the tissue of every voxel lay before the masses pushed it outwards; coordinates (3, X, Y, Z) in mm."""
    before = coordinates.clone()
    for focus in glioma.foci:
        mean = sum(focus.radii) / 3
        away = coordinates - torch.tensor(focus.centre)[:, None, None, None]
        distance = away.norm(dim=0)
        before -= 0.4 * mean * (-distance / (1.5 * mean)).exp() * away / (distance + 0.5 * mean)
    return before


def grow(glioma: Glioma, points: Points, pushed: Points, white: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Lay out the tumour: labels (X, Y, Z), 0 for none.

    Args:
        glioma: the tumour.
        points: coordinates of every voxel in the common anatomy, in mm.
        pushed: the same from `displace`; its midline is not crossed.
        white: share of white matter in every voxel, along which oedema spreads.
        brain: mask of the brain; no tumour grows beyond.
    """
    rough = smooth_field(glioma.ruggedness, points[0].shape)
    white = blur(white, 1.0)  # or oedema falls apart into specks
    labels = torch.zeros(points[0].shape, dtype=torch.uint8)
    for focus in glioma.foci:
        mean = sum(focus.radii) / 3
        outline = ellipsoid(points, focus.centre, focus.radii) + 0.35 * mean * rough[0]
        outline = torch.where(pushed[0] * focus.centre[0] > 0, outline, math.inf)  # the falx lies between the halves
        reach = focus.edema * (0.35 + 0.9 * white) + 4.0 * rough[1]
        labels = torch.where((outline < reach) & (labels == 0), EDEMA, labels)
        labels = torch.where(outline < 0, ENHANCING if focus.rim else CORE, labels)
        labels = torch.where(outline < -focus.rim, CORE, labels)
    return labels.to(torch.uint8) * brain


def show(
    glioma: Glioma, healthy: dict[str, torch.Tensor], labels: torch.Tensor, points: Points
) -> dict[str, torch.Tensor]:
    """Paint the tumour, old white-matter lesions and bright vessels over healthy tissue (X, Y, Z) of each contrast."""
    old, bright_vessels, plexus = _old_lesions(glioma, points), _vessels(points), _choroid_plexus(points)
    mottle = 1 + 0.12 * smooth_field(glioma.mottle, labels.shape)[0]
    shown = {}
    for contrast, tissue in healthy.items():
        volume = tissue.clone()
        if contrast in ("FLAIR", "T2w"):
            volume += 0.28 * old
        if contrast == "t1gd":
            volume += 0.45 * plexus
            volume += (0.9 - volume).clamp(min=0) * bright_vessels
        for label, part in ((EDEMA, glioma.edema), (CORE, glioma.core), (ENHANCING, glioma.enhancing)):
            keep = 0.35 if label == EDEMA else 0.1  # of what was there
            volume = torch.where(labels == label, (1 - keep) * part[contrast] * mottle + keep * tissue, volume)
        shown[contrast] = volume.clamp(min=0.02)
    return shown


def _old_lesions(glioma: Glioma, points: Points) -> torch.Tensor:
    """Share of bright old lesions: blobs in a shell around the lateral ventricles."""
    x, y, z = points
    shell = ellipsoid((x.abs(), y, z), (16, -6, 16), (11, 46, 16)).abs()
    blobs = smooth_field(glioma.old_lesions, x.shape)[0] - 0.5
    return (4 * blobs).clamp(0, 1) * (1.5 - shell / 6).clamp(0, 1)


def _choroid_plexus(points: Points) -> torch.Tensor:
    """Share of the enhancing plexus in the ventricles, larger on the left."""
    x, y, z = points
    size = by_side(x, (1.0, 0.0))
    return (0.5 - (ellipsoid((x.abs(), y, z), (21, -38, 10), (4, 9, 5)) - size) / 2).clamp(0, 1)


def _vessels(points: Points) -> torch.Tensor:
    """Share of enhancing vessels: middle and anterior cerebral arteries, straight sinus."""
    sides = mirror(points)
    lines = (
        ((10, 6, -20), (32, 8, -15), 2.0), ((32, 8, -15), (46, -6, -6), 1.8), ((46, -6, -6), (54, -28, 6), 1.6),
        ((2, 30, -4), (2, 46, 22), 1.6), ((2, 46, 22), (2, 10, 44), 1.5), ((0, -40, 10), (0, -80, -12), 2.2),
    )  # fmt: skip
    near = torch.stack([rod(sides, *line) for line in lines]).amin(0)
    return (0.5 - near / 2).clamp(0, 1)


def seen_as(head: Head, glioma: Glioma, contrast: str) -> Head:
    """The same person with the brightness of another contrast."""
    return Head(**{**vars(head), "tissue": head.tissue | glioma.tissue[contrast]})
