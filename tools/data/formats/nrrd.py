"""Reader of NRRD volumes with at most one channel axis."""

from __future__ import annotations

import bz2
import io
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nrrd
import numpy as np

from tools.data.formats.sources import DEFLATE_RATIO, MAX_VOXELS, check_declared_size, check_detached
from tools.data.formats.units import nrrd_unit, scale_affine
from tools.utils.errors import InputError

HEADER = 2**20  # maximum size of the text header in bytes
LIST = re.compile(rb"^data ?file:=?[ \t]*LIST", re.MULTILINE)
AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
SPATIAL_KINDS = ("domain", "space", "none", "???", "")
TYPES = {
    **{"signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1"},
    **{"uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2"},
    **{"int16": "i2", "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2"},
    **{"uint16": "u2", "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4"},
    **{"uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4"},
    **{"longlong": "i8", "long long": "i8", "long long int": "i8", "signed long long": "i8", "int64": "i8"},
    **{"signed long long int": "i8", "int64_t": "i8", "ulonglong": "u8", "unsigned long long": "u8"},
    **{"unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4", "double": "f8"},
}
DECODERS = {
    **dict.fromkeys(("gz", "gzip"), lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    **dict.fromkeys(("bz2", "bzip2"), bz2.BZ2Decompressor),
}
RATIO = {"gz": DEFLATE_RATIO, "gzip": DEFLATE_RATIO, "bz2": None, "bzip2": None}  # bytes that a stored byte can hold


class Header(NamedTuple):
    """Header of a NRRD file.

    Attributes:
        fields: entries by name, as pynrrd parses them, without the data file.
        data: file with the voxels.
        offset: bytes before the voxels in this file, without skipped ones.
        encoding: encoding of the voxels in lower case.
    """

    fields: dict[str, Any]
    data: Path
    offset: int
    encoding: str

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return np.dtype((">" if self.fields.get("endian") == "big" else "<") + TYPES[self.fields["type"]])

    def skipped(self, unit: str) -> int:
        """Return the number of lines or bytes to skip before the voxels."""
        return int(self.fields.get(f"{unit} skip", self.fields.get(f"{unit}skip", 0)))


def read_header(path: str | Path) -> Header:
    """Read the text header.

    Raises:
        InputError: if there are several data files, and as `check_detached`.
    """
    with open(path, "rb") as file:
        text = io.BytesIO(file.read(HEADER))
    listed = LIST.search(text.getvalue()) is not None
    fields = {} if listed else nrrd.read_header(text)  # which cannot parse a list
    names = [fields.pop(key) for key in ("data file", "datafile") if key in fields]
    if listed or len(names) > 1 or any("%" in name for name in names):
        found = " and ".join(names) or "LIST"
        raise InputError(f"{path}: data file: expected one file, found {found}; save the volume as one file")
    data = check_detached(path, names[0], "NRRD volume") if names else Path(path)
    return Header(fields, data, 0 if names else text.tell(), str(fields.get("encoding")).lower())


def data_files(path: str | Path) -> list[Path]:
    """Return the data files of a detached header; empty for an attached header. Raises as `read_header`."""
    data = read_header(path).data
    return [] if data == Path(path) else [data]


def check_size(path: str | Path, header: Header, max_voxels: int = MAX_VOXELS) -> None:
    """Compare the size that a header declares with its data file and a limit, see `check_declared_size`."""
    stored = header.data.stat().st_size - header.offset
    for unit in ("line", "byte"):
        skipped = header.skipped(unit)
        if not (0 if unit == "line" else -1) <= skipped <= stored:
            raise InputError(f"{path}: {unit} skip: expected at most the {stored} bytes of the file, found {skipped}")
    ratio = RATIO.get(header.encoding, 1)
    item_size = header.dtype.itemsize if header.encoding in ("raw", *DECODERS) else 1  # a text has a byte for each
    check_declared_size(path, header.fields["sizes"], max_voxels, item_size, None if ratio is None else ratio * stored)


def read_voxels(path: str | Path, header: Header, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """Read the voxels, the fastest axis first; decompression stops at the size in the header.

    Raises:
        InputError: as `check_size`.
    """
    check_size(path, header, max_voxels)
    fields = dict(header.fields)
    with header.data.open("rb") as file:
        file.seek(header.offset)
        if header.encoding not in DECODERS:
            return nrrd.read_data(fields, file)
        for _ in range(header.skipped("line")):
            file.readline()
        needed = header.dtype.itemsize * math.prod(map(int, fields["sizes"])) + max(header.skipped("byte"), 0)
        voxels = DECODERS[header.encoding]().decompress(file.read(), needed)
    return nrrd.read_data(fields | {"encoding": "raw", "line skip": 0, "lineskip": 0}, io.BytesIO(voxels))


def read_nrrd(path: str | Path, max_voxels: int = MAX_VOXELS) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a NRRD file.

    The affine follows from ``space directions``, or else from ``spacings`` along the LPS axes, as in ITK.

    Args:
        path: file with an attached or detached header.
        max_voxels: largest number of values.

    Returns:
        Voxels (D, H, W) or (C, D, H, W), and the metadata of a MONAI reader.

    Raises:
        InputError: as `read_header` and `check_size`, and if there are no directions and spacings, not three spatial
            axes, or an unknown unit or space.
    """
    found = read_header(path)
    voxels, header = read_voxels(path, found, max_voxels), found.fields
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
