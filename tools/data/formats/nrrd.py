"""Reader of NRRD volumes with at most one channel axis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from tools.data.formats.sources import check_detached
from tools.data.formats.units import nrrd_unit, scale_affine
from tools.utils.errors import InputError

HEADER = 65536  # maximum size of the text header in bytes
LIST = re.compile(rb"^data ?file:=?[ \t]*LIST", re.MULTILINE)
AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
SPATIAL_KINDS = ("domain", "space", "none", "???", "")


def data_files(path: str | Path) -> list[Path]:
    """Return the data files of a detached header; empty for an attached header.

    Raises:
        InputError: if there are several data files, and as `check_detached`.
    """
    with open(path, "rb") as file:
        listed = LIST.search(file.read(HEADER)) is not None
    header = {} if listed else nrrd.read_header(str(path))  # pynrrd cannot parse a list
    name = header.get("data file", header.get("datafile"))
    if listed or (name and "%" in name):
        raise InputError(f"{path}: data file: expected one file, found {name or 'LIST'}; save the volume as one file")
    return [] if name is None else [check_detached(path, name, "NRRD volume")]


def read_nrrd(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a NRRD file.

    The affine follows from ``space directions``, or else from ``spacings`` along the LPS axes, as in ITK.

    Args:
        path: file with an attached or detached header.

    Returns:
        Voxels (D, H, W) or (C, D, H, W), and the metadata of a MONAI reader.

    Raises:
        InputError: if there are no directions and spacings, not three spatial axes, or an unknown unit or space.
    """
    data_files(path)
    voxels, header = nrrd.read(str(path))
    directions = _directions(path, header)
    spatial = np.flatnonzero(np.isfinite(directions).all(1))
    others = [axis for axis in range(voxels.ndim) if axis not in spatial]
    if len(spatial) != 3 or len(others) > 1:
        raise InputError(
            f"{path}: expected 3 spatial axes and at most one channel axis, found size {voxels.shape} with "
            f"{len(spatial)} spatial axes"
        )
    affine = np.eye(4)
    affine[:3, :3] = directions[spatial].T
    origin = np.asarray(header.get("space origin", np.zeros(3)), dtype=float)
    affine[:3, 3] = np.where(np.isfinite(origin), origin, 0)
    affine = scale_affine(_to_ras(path, header) @ affine, nrrd_unit(header, str(path)))
    voxels = np.moveaxis(voxels, others, [0] * len(others))
    return voxels, {
        "affine": affine,
        "original_affine": affine.copy(),
        "spatial_shape": np.asarray(voxels.shape[-3:]),
        "original_channel_dim": 0 if others else float("nan"),
        "space": "RAS",
    }


def _directions(path: str | Path, header: Mapping[str, Any]) -> np.ndarray:
    """Return the direction of each axis (axes, 3) in the space and unit of the file; NaN for non-spatial axes."""
    if "space directions" in header:
        return np.asarray(header["space directions"], dtype=float)
    if "spacings" not in header:
        raise InputError(f"{path}: expected space directions or spacings, found neither")
    spacings = np.asarray(header["spacings"], dtype=float)
    kinds = header.get("kinds", ["domain"] * len(spacings))
    spatial = np.isfinite(spacings) & [kind.lower() in SPATIAL_KINDS for kind in kinds]
    directions = np.full((len(spacings), 3), np.nan)
    directions[spatial] = np.diag(spacings[spatial])[:, :3] if spatial.sum() == 3 else 0
    return directions


def _to_ras(path: str | Path, header: Mapping[str, Any]) -> np.ndarray:
    """Return the matrix (4, 4) from the space of a header, LPS by default, to RAS."""
    space = header.get("space", "left-posterior-superior")
    letters = "".join(word[0] for word in space.split("-")).upper() if "-" in space else space
    if len(letters) != 3 or not set(letters) <= set(AXES):
        raise InputError(f"{path}: expected a space such as left-posterior-superior, found {space!r}")
    to_ras = np.zeros((4, 4))
    to_ras[3, 3] = 1
    for column, letter in enumerate(letters):
        row, sign = AXES[letter]
        to_ras[row, column] = sign
    return to_ras
