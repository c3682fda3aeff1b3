"""MetaImage volumes (MHA, MHD): the text header, the files it names, and reading by ITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ITKReader

from tools.data.formats.sources import check_detached
from tools.data.formats.units import check_metaimage_unit
from tools.utils.errors import InputError

HEADER = 65536  # bytes that the text before the voxels may take
LAST_ENTRY = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\S[^\r\n]*)", re.MULTILINE)


def data_files(path: str | Path) -> list[Path]:
    """Files with the voxels that a header names, none if they follow the header.

    Raises:
        InputError: no header of a MetaImage, several data files, or as `check_detached`.
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
        Voxels and the metadata that MONAI's `ITKReader` gives.

    Raises:
        InputError: as `data_files`, another unit than mm, or voxels that ITK cannot read.
    """
    data_files(path)
    check_metaimage_unit(path)
    reader = ITKReader()
    try:
        return reader.get_data(reader.read(str(path)))
    except RuntimeError as error:  # ITK calls a file that is too short missing
        raise InputError(f"{path}: expected a readable volume, found a truncated or damaged MetaImage") from error
