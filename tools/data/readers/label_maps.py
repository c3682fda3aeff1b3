"""Label maps among volumes, recognised by file name, folder name and voxels."""

from __future__ import annotations

import random
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
from nibabel.openers import Opener

from tools.data.formats.volumes import data_files
from tools.data.readers import words
from tools.data.readers.base import Folder

NAMED = "label maps by name"
BY_CONTENT = "label maps by content (few distinct whole numbers)"
DERIVATIVES = "BIDS derivatives"
OVERRIDE = "--include_label_maps True uses them"

SAMPLED = 64  # files read of a group of names that differ in digits alone; if one is a label map, all are read
ALIKE = 8  # files that make such a group; the others are one group
SAMPLED_OTHERS = 512
CHUNK = 2**18  # bytes
FEW = 16  # distinct values of a label map, whatever their arrangement
MANY = 256  # distinct values of a label map, at most
CONSTANT = 0.5  # fraction of the voxels beside a structure's voxel that are its own, in a label map of many values

_DIGITS = re.compile(r"\d+")
_METAIMAGE_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_NRRD_TYPES = {
    **{"signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1"},
    **{"uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2"},
    **{"ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "signed int": "i4"},
    **{"int32": "i4", "int32_t": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4"},
    **{"longlong": "i8", "int64": "i8", "int64_t": "i8", "float": "f4", "double": "f8"},
}


def find_label_maps(folder: Folder, volumes: Iterable[Path], by_content: bool = True) -> dict[Path, str]:
    """Find the label maps among volumes.

    Args:
        folder: the data set.
        volumes: files in a format of volumes.
        by_content: whether voxels are read where the name does not tell.

    Returns:
        The reason by file: its name, or that of a folder (see `tools.data.readers.words`), or few distinct whole
        numbers. Of many files, some are read first, see `SAMPLED`.
    """
    found: dict[Path, str] = {}
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in volumes:
        case = folder.case_id(file)
        if words.DERIVATIVES in case.split("/")[:-1]:
            found[file] = DERIVATIVES
        elif words.is_label_map_path(case):
            found[file] = NAMED
        else:
            groups[_DIGITS.sub("0", case)].append(file)
    if by_content:
        large = [files for files in groups.values() if len(files) >= ALIKE]
        others = [file for files in groups.values() if len(files) < ALIKE for file in files]
        for files, limit in [*((files, SAMPLED) for files in large), (others, SAMPLED_OTHERS)]:
            found.update(dict.fromkeys(_by_content(files, limit), BY_CONTENT))
    return found


def _by_content(files: Sequence[Path], limit: int) -> list[Path]:
    """Label maps among files; of more than `limit`, some are read first."""
    sample = files if len(files) <= limit else random.Random(0).sample(files, limit)
    found = [file for file in sample if is_label_map(file)]
    return [file for file in files if is_label_map(file)] if found and len(sample) < len(files) else found


def is_label_map(path: str | Path) -> bool:
    """Return whether a volume holds whole numbers, none negative, of few distinct values in constant parts.

    Reading stops where an image shows. A constant volume, or one that cannot be read, is no label map.
    """
    values: set[int] = set()
    same = beside = 0
    try:
        for chunk in _read_chunks(Path(path)):
            if chunk.dtype.kind not in "iub" and not (chunk.dtype.kind == "f" and (chunk == np.rint(chunk)).all()):
                return False
            values.update(np.unique(chunk).tolist())
            if len(values) > MANY or min(values) < 0:
                return False
            inside = chunk[:-1] != 0
            beside += int(inside.sum())
            same += int((inside & (chunk[:-1] == chunk[1:])).sum())
    except Exception:  # a damaged file, of which the reader of volumes tells later
        return False
    return 1 < len(values) <= FEW or (len(values) > FEW and same >= CONSTANT * beside)


def _read_chunks(path: Path) -> Iterator[np.ndarray]:
    """Yield the voxels of a file in the order they are stored, `CHUNK` bytes at a time."""
    name = path.name.lower()
    read = _read_nrrd if name.endswith((".nrrd", ".nhdr")) else _read_metaimage
    yield from (_read_nifti if name.endswith((".nii", ".nii.gz")) else read)(path)


def _read_nifti(path: Path) -> Iterator[np.ndarray]:
    with Opener(path) as file:
        block = file.read(nibabel.Nifti2Header.sizeof_hdr)
        second = nibabel.Nifti2Header.sizeof_hdr in (int.from_bytes(block[:4], order) for order in ("little", "big"))
        kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
        header = kind(block[: kind.sizeof_hdr], check=False)
        file.seek(header.get_data_offset())
        count = int(np.prod(header.get_data_shape()))
        yield from _arrays(iter(lambda: file.read(CHUNK), b""), header.get_data_dtype(), count)


def _read_nrrd(path: Path) -> Iterator[np.ndarray]:
    detached = data_files(path)
    with path.open("rb") as file:
        header = nrrd.read_header(file)
        encoding = header["encoding"].lower()
        if detached or encoding not in ("raw", "gzip", "gz"):
            yield nrrd.read(str(path))[0].ravel(order="F")
            return
        order = ">" if header.get("endian") == "big" else "<"
        blocks = iter(lambda: file.read(CHUNK), b"")
        count = int(np.prod(header["sizes"]))
        dtype = np.dtype(order + _NRRD_TYPES[header["type"]])
        yield from _arrays(blocks if encoding == "raw" else _inflate(blocks), dtype, count)


def _read_metaimage(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        header: dict[str, str] = {}
        while "ElementDataFile" not in header and (line := file.readline(2**12)):
            key, _, value = line.decode("latin-1").partition("=")
            header[key.strip()] = value.strip()
        count = int(np.prod([int(size) for size in header["DimSize"].split()]))
        order = ">" if _is_true(header, "BinaryDataByteOrderMSB") or _is_true(header, "ElementByteOrderMSB") else "<"
        dtype = np.dtype(order + _METAIMAGE_TYPES[header["ElementType"]])
        detached = data_files(path)
        with detached[0].open("rb") if detached else file as data:
            blocks = iter(lambda: data.read(CHUNK), b"")
            yield from _arrays(_inflate(blocks) if _is_true(header, "CompressedData") else blocks, dtype, count)


def _is_true(header: Mapping[str, Any], key: str) -> bool:
    return str(header.get(key)).lower() == "true"


def _inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress zlib or gzip data."""
    stream = zlib.decompressobj(wbits=47)
    for block in blocks:
        while block:
            yield stream.decompress(block, CHUNK)
            block = stream.unconsumed_tail


def _arrays(blocks: Iterable[bytes], dtype: np.dtype, count: int) -> Iterator[np.ndarray]:
    """Arrays of blocks of bytes, `count` values at most."""
    left = b""
    for block in blocks:
        data = left + block
        whole = min(len(data) // dtype.itemsize, count)
        left = data[whole * dtype.itemsize :]
        if whole:
            yield np.frombuffer(data, dtype, whole)
        count -= whole
        if not count:
            return
