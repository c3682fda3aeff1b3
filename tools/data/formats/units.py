"""Length units of volume files, and their size in millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nibabel
import numpy as np

from tools.utils.errors import InputError

#: size in mm by unit; an empty unit is mm by convention
MILLIMETRES = {
    **dict.fromkeys(("", "mm", "millimeter", "millimetre", "millimeters", "millimetres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("micrometers", "micrometres"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers", "nanometres"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimetre", "centimeters", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e3),
}
NIFTI_UNITS = {0: "", 1: "m", 2: "mm", 3: "um"}  # the lowest 3 bits of xyzt_units


def nifti_unit(header: nibabel.Nifti1Header, name: str) -> float:
    """Return the size in mm of the length unit of a NIfTI header; code 0 ("unknown") is mm.

    Args:
        header: header of nibabel.
        name: file name for messages.

    Raises:
        InputError: if the code is not defined by NIfTI.
    """
    code = int(header["xyzt_units"]) & 7
    if code not in NIFTI_UNITS:
        raise InputError(
            f"{name}: expected xyzt_units of metre (1), millimetre (2), micron (3) or unknown (0), found {code}"
        )
    return MILLIMETRES[NIFTI_UNITS[code]]


def nrrd_unit(header: Mapping[str, Any], name: str) -> float:
    """Return the size in mm of the length unit of the space directions and origin of a NRRD header.

    Args:
        header: header of pynrrd; "space units" has one unit per spatial axis, "units" one per array axis.
        name: file name for messages.

    Raises:
        InputError: if a unit is not a known length unit, or the units differ.
    """
    sizes = {}
    for field in ("space units", "units"):
        units = header.get(field, [])
        for unit in [units] if isinstance(units, str) else units:
            sizes[f"{field} {unit!r}"] = _size(f"{name}: {field}", unit)
    if len({*sizes.values()}) > 1:
        raise InputError(f"{name}: space units: expected one unit of length, found {', '.join(sizes)}")
    return next(iter(sizes.values()), 1.0)


def _size(name: str, unit: str) -> float:
    word = unit.strip().strip('"').strip()
    for known in (word, word.lower()):
        if known in MILLIMETRES:
            return MILLIMETRES[known]
    raise InputError(f"{name}: expected a unit of length such as mm or um, found {unit!r}")


def scale_affine(affine: np.ndarray, unit: float) -> np.ndarray:
    """Return the affine (4, 4) in mm of an affine in a unit of `unit` mm."""
    return np.diag([unit] * (len(affine) - 1) + [1.0]) @ affine
