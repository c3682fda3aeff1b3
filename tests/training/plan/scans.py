"""Made-up volumes of noise in a box."""

import nibabel
import numpy as np

RANDOM = np.random.default_rng(0)


def write_scan(path, shape=(40, 44, 36), spacing=(2.0, 2.0, 2.0), unit="mm", margin=6):
    """Write a volume whose foreground is a box with a margin, and return its case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(shape, np.int16)
    inside = tuple(slice(margin, edge - margin) for edge in shape)
    voxels[inside] = RANDOM.integers(500, 600, voxels[inside].shape)
    scale = {"mm": 1, "meter": 1e-3}[unit]
    image = nibabel.Nifti1Image(voxels, np.diag([*(edge * scale for edge in spacing), 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return {"case": path.name, "patient": path.name, "image": str(path)}
