"""Reader of MetaImage volumes (MHA, MHD) with ITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.data import ITKReader

from tools.data.formats.sources import DEFLATE_RATIO, MAX_VOXELS, check_declared_size, check_detached
from tools.utils.errors import InputError

HEADER = 65536  # bytes that the text before the voxels may take
LAST = "ElementDataFile"
FIELD = re.compile(rb"[ \t]*(\w+)[ \t]*[=:][ \t]*([^\r\n]*?)[ \t]*\r?\n?")
TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}


class Header(NamedTuple):
    """Header of a MetaImage.

    Attributes:
        fields: entries by name, the last one ``ElementDataFile``.
        length: bytes of the header.
    """

    fields: dict[str, str]
    length: int

    def is_true(self, name: str) -> bool:
        """Return whether an entry is "True"."""
        return self.fields.get(name, "").lower() == "true"

    @property
    def shape(self) -> tuple[int, ...]:
        """Declared size, with the channels last if there are several."""
        channels = int(self.fields.get("ElementNumberOfChannels", 1))
        return (*map(int, self.fields["DimSize"].split()), *([channels] if channels != 1 else []))

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        big = self.is_true("BinaryDataByteOrderMSB") or self.is_true("ElementByteOrderMSB")
        return np.dtype((">" if big else "<") + TYPES[self.fields["ElementType"]])


def read_header(path: str | Path) -> Header:
    """Read the text header.

    Raises:
        InputError: if the file has no MetaImage header.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        while LAST not in fields and file.tell() < HEADER and (line := file.readline(HEADER)):
            if found := FIELD.fullmatch(line):
                fields[found[1].decode()] = found[2].decode(errors="replace")
        length = file.tell()
    if not fields.get(LAST):
        raise InputError(f"{path}: expected a MetaImage header with {LAST}, found none")
    return Header(fields, length)


def data_files(path: str | Path) -> list[Path]:
    """Return the data files of a detached header; empty for an attached header.

    Raises:
        InputError: if there is no MetaImage header or several data files, and as `check_detached`.
    """
    name = read_header(path).fields[LAST]
    if name.upper() == "LOCAL":
        return []
    if name.split()[0].upper() == "LIST" or "%" in name:
        raise InputError(f"{path}: {LAST}: expected one file, found {name!r}; save the volume as one file")
    return [check_detached(path, name, "MetaImage volume")]


def check_unit(path: str | Path) -> None:
    """Refuse a MetaImage in another unit than mm, which ITK reads as mm.

    Raises:
        InputError: with the unit.
    """
    unit = read_header(path).fields.get("DistanceUnits", "mm")
    if unit.lower() not in ("mm", "?"):
        raise InputError(f"{path}: DistanceUnits: expected mm, found {unit}; save the file in millimetres")


def check_size(path: str | Path, max_voxels: int = MAX_VOXELS) -> None:
    """Compare the size that a header declares with its data file and a limit, see `check_declared_size`."""
    header = read_header(path)
    detached = data_files(path)
    stored = (detached[0] if detached else Path(path)).stat().st_size - (0 if detached else header.length)
    try:
        shape, skipped = header.shape, int(header.fields.get("HeaderSize", 0))
        binary = header.fields.get("BinaryData", "True").lower() == "true"
        item_size = header.dtype.itemsize if binary else 1  # a number of a text takes a byte or more
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: expected DimSize and ElementType of numbers, found a bad or no {error}") from error
    if not -1 <= skipped <= stored:
        raise InputError(f"{path}: HeaderSize: expected -1 to {stored}, found {skipped}")
    ratio = DEFLATE_RATIO if header.is_true("CompressedData") else 1
    check_declared_size(path, shape, max_voxels, item_size, ratio * stored)


def read_metaimage(path: str | Path, max_voxels: int = MAX_VOXELS) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a MetaImage with the affine to RAS mm.

    Args:
        path: MHA or MHD file.
        max_voxels: largest number of values.

    Returns:
        Voxels and metadata of MONAI's `ITKReader`.

    Raises:
        InputError: as `data_files` and `check_size`, and if the unit is not mm or ITK cannot read the voxels.
    """
    check_size(path, max_voxels)
    check_unit(path)
    reader = ITKReader()
    try:
        return reader.get_data(reader.read(str(path)))
    except RuntimeError as error:  # ITK reports a truncated file as missing
        raise InputError(f"{path}: expected a readable volume, found a truncated or damaged MetaImage") from error
