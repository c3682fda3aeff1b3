"""Reader of MetaImage volumes (MHA, MHD) with ITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ITKReader

from tools.data.formats.sources import check_detached
from tools.data.formats.units import check_metaimage_unit
from tools.utils.errors import InputError

HEADER = 65536  # maximum size of the text header in bytes
LAST_ENTRY = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\S[^\r\n]*)", re.MULTILINE)


def data_files(path: str | Path) -> list[Path]:
    """Return the data files of a detached header; empty for an attached header.

    Raises:
        InputError: if there is no MetaImage header or several data files, and as `check_detached`.
    """
    with open(path, "rb") as file:
        found = LAST_ENTRY.search(file.read(HEADER))
    if found is None:
        raise InputError(f"{path}: expected a MetaImage header with ElementDataFile, found none")
    name = found[1].decode(errors="replace").strip()
    if name.upper() == "LOCAL":
        return []
    if name.split()[0].upper() == "LIST" or "%" in name:
        raise InputError(f"{path}: ElementDataFile: expected one file, found {name!r}; save the volume as one file")
    return [check_detached(path, name, "MetaImage volume")]


def read_metaimage(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a MetaImage with the affine to RAS mm.

    Args:
        path: MHA or MHD file.

    Returns:
        Voxels and metadata of MONAI's `ITKReader`.

    Raises:
        InputError: as `data_files`, and if the unit is not mm or ITK cannot read the voxels.
    """
    data_files(path)
    check_metaimage_unit(path)
    reader = ITKReader()
    try:
        return reader.get_data(reader.read(str(path)))
    except RuntimeError as error:  # ITK reports a truncated file as missing
        raise InputError(f"{path}: expected a readable volume, found a truncated or damaged MetaImage") from error
