"""Search for DICOM series in a folder tree, with the reasons why other DICOM files are not used."""

from __future__ import annotations

import re
import stat
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from tools.data.formats.sources import MAX_VOXELS
from tools.utils.errors import InputError

MIN_SLICES = 3
CHUNK = 2**20  # bytes that are decompressed at a time
META_START = 144  # bytes of the preamble and of the element with the length of the file meta information
TOLERANCE = 1e-3  # of spacing (mm) and direction cosines within a series
PLACING = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "ImageType"),
    *("NumberOfFrames", "SamplesPerPixel", "Rows", "Columns", *PLACING),
]
UID = re.compile(r"[0-9][0-9.]{0,63}")  # used in file names
SUFFIX = re.compile(r"\.(dcm|dicom|dc3|ima)(\.gz|\.bz2|\.zip)?$", re.IGNORECASE)
NOT_SCANS = {"SEG": "DICOM segmentations", "RTDOSE": "DICOM doses"}  # modalities with pixels that are not scans

#: paths of DICOM files that are not used, by reason
Unused = dict[str, list[Path]]

# pydicom warns about values that violate the standard
warnings.filterwarnings("ignore", module=r"pydicom\.")


class Series(NamedTuple):
    """DICOM series.

    Attributes:
        path: folder, or ``<folder>/<SeriesInstanceUID>`` if the folder has several series.
        patient: PatientID; empty if there is none.
        files: files of the slices, in no particular order.
    """

    path: Path
    patient: str
    files: tuple[Path, ...]


class _Slice(NamedTuple):
    """Header of a slice; `grid` is size, spacing and orientation."""

    file: Path
    series: str
    patient: str
    instance: str
    position: tuple[float, ...]
    grid: tuple[float, ...]


def find_series(files: Iterable[Path]) -> tuple[list[Series], Unused]:
    """Group DICOM slices by folder and series.

    DICOM files are recognised by content, with or without preamble. Localizers, other objects, slices with another
    grid than their series, and copies (equal SOPInstanceUID and position) are excluded. A series is also excluded if
    another folder contains all its slices.

    Args:
        files: candidate files; files that are not DICOM are ignored.

    Returns:
        Series sorted by path, and DICOM files that are not part of a series, by reason.
    """
    unused: Unused = defaultdict(list)
    folders: dict[Path, dict[str, list[_Slice]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(files, key=lambda file: (len(file.name), file)):  # of copies, the first is used
        found = _read_slice(file)
        if isinstance(found, _Slice):
            folders[file.parent][found.series].append(found)
        elif found:
            unused[found].append(file)
    parts: dict[Path, list[_Slice]] = {}
    for folder, by_uid in folders.items():
        usable = {uid: kept for uid, slices in by_uid.items() if (kept := _usable(slices, unused))}
        parts |= {folder if len(usable) == 1 else folder / uid: slices for uid, slices in usable.items()}
    _drop_copied_series(parts, unused)
    series = [Series(path, parts[path][0].patient, tuple(one.file for one in parts[path])) for path in sorted(parts)]
    return series, dict(unused)


def describe_unused(unused: Mapping[str, Sequence[Path]], root: Path) -> str:
    """Format the number of unused DICOM files by reason, with one example each, on one line; empty if none."""
    if not unused:
        return ""
    reasons = sorted(unused.items(), key=lambda item: -len(item[1]))
    texts = [f"{reason}: {len(files)} ({min(files).relative_to(root).as_posix()})" for reason, files in reasons]
    return f"{sum(map(len, unused.values()))} DICOM files are not used: {'; '.join(texts)}"


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file starts with the DICOM preamble, or with a data element of group 2 or 8.

    Raises:
        OSError: if the file cannot be opened.
    """
    start = _start(path)
    return _has_preamble(start) or _starts_with_element(start)


def check_deflated(path: Path, max_voxels: int = MAX_VOXELS) -> None:
    """Raise for a deflated DICOM file that expands to more than 2 bytes per voxel of `max_voxels` plus 1 MB for tags.

    pydicom decompresses the whole file even to read its header.

    Raises:
        InputError: with the key ``max_voxels``.
    """
    if not _has_preamble(_start(path)):
        return
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    limit = 2 * max_voxels + CHUNK
    decoder, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(META_START + int(meta.get("FileMetaInformationGroupLength", 0)))
        while not decoder.eof and (block := decoder.unconsumed_tail or file.read(CHUNK)):
            size += len(decoder.decompress(block, CHUNK))
            if size > limit:
                raise InputError(
                    f"{path}: expected a slice of at most {limit} bytes after decompression (for max_voxels "
                    f"{max_voxels}), found more; pass a larger --max_voxels if the memory suffices"
                )


def _start(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
        return b""
    with path.open("rb") as file:
        return file.read(132)


def _has_preamble(start: bytes) -> bool:
    return start[128:] == b"DICM"


def _starts_with_element(start: bytes) -> bool:
    if start[:2] == b"\0\x08":  # big endian always has an explicit value representation
        return start[4:6].isalpha()
    return start[:2] in (b"\2\0", b"\x08\0") and (start[4:6].isalpha() or start[6:8] == b"\0\0")


def _read_slice(file: Path) -> _Slice | str | None:
    """Return the header of a slice, the reason why a DICOM file is not used, or None for other files."""
    certain = bool(SUFFIX.search(file.name))
    try:
        start = _start(file)
        if not _has_preamble(start) and not _starts_with_element(start):
            return "DICOM suffix without a DICOM header" if certain else None
        certain = certain or _has_preamble(start)
        check_deflated(file)
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=TAGS)
        return _slice(file, header) if certain or "SOPClassUID" in header or "SeriesInstanceUID" in header else None
    except OSError as error:
        return f"DICOM that cannot be opened ({error.strerror})" if certain else None
    except InputError:
        return "deflated DICOM that expands to too many bytes"
    except Exception:  # pydicom raises various errors for damaged headers
        return "DICOM with a damaged header" if certain else None


def _slice(file: Path, header: pydicom.FileDataset) -> _Slice | str:
    modality = " ".join(str(header.get("Modality") or "").split())[:16]
    series = str(header.get("SeriesInstanceUID") or "")
    kinds = {header.get("SOPClassUID"), header.file_meta.get("MediaStorageSOPClassUID")}
    placing = {tag: tuple(map(float, header.get(tag) or ())) for tag in PLACING}
    missing = [
        tag for tag, length in PLACING.items() if len(placing[tag]) != length or not np.isfinite(placing[tag]).all()
    ]
    reasons = {
        "DICOMDIR files": MediaStorageDirectoryStorage in kinds,
        f"DICOM without an image ({modality or 'no Modality'})": not (header.get("Rows") and header.get("Columns")),
        NOT_SCANS.get(modality, ""): modality in NOT_SCANS,
        "multi-frame DICOM (convert to NIfTI with dcm2niix)": int(header.get("NumberOfFrames") or 1) > 1,
        "DICOM in colour": int(header.get("SamplesPerPixel") or 1) > 1,
        "DICOM with an invalid SeriesInstanceUID": not UID.fullmatch(series),
        "DICOM localizers": "LOCALIZER" in str(header.get("ImageType")).upper(),
        f"DICOM without {' or '.join(missing[:1])}": bool(missing),
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), ""):
        return reason
    position, *grid = placing.values()
    grid = (float(header.Rows), float(header.Columns), *grid[0], *grid[1])
    instance = str(header.get("SOPInstanceUID") or "")
    return _Slice(file, series, str(header.get("PatientID") or ""), instance, position, grid)


def _usable(slices: Sequence[_Slice], unused: Unused) -> list[_Slice]:
    """Return the slices of a series without copies and slices on another grid; empty if it is not a volume."""
    kept = _without_copies(slices, unused)
    grids = np.array([one.grid for one in kept])
    common = Counter(tuple(np.round(grid, 2)) for grid in grids).most_common(1)[0][0]
    reference = next(grid for grid in grids if tuple(np.round(grid, 2)) == common)
    fits = (np.abs(grids - reference) < TOLERANCE).all(1)
    same = [one for one, fit in zip(kept, fits, strict=True) if fit]
    others = [one for one, fit in zip(kept, fits, strict=True) if not fit]
    if 2 * len(others) > len(same):
        unused["DICOM series with several orientations, spacings or sizes"] += [one.file for one in kept]
        return []
    if others:
        unused["DICOM slices on another grid than their series"] += [one.file for one in others]
    if len(same) < MIN_SLICES:
        unused[f"DICOM series of fewer than {MIN_SLICES} slices in a folder"] += [one.file for one in same]
        return []
    return same


def _without_copies(slices: Sequence[_Slice], unused: Unused) -> list[_Slice]:
    if not _distinct(slices):
        return list(slices)
    kept: dict[str, _Slice] = {}
    for one in slices:
        if kept.setdefault(one.instance, one) is not one:
            unused["DICOM copies"].append(one.file)
    return list(kept.values())


def _distinct(slices: Sequence[_Slice]) -> bool:
    """Return whether all slices have a SOPInstanceUID and none has several positions, as after some anonymisers."""
    places = {(one.instance, one.position) for one in slices}
    return all(one.instance for one in slices) and len({one.instance for one in slices}) == len(places)


def _drop_copied_series(parts: dict[Path, list[_Slice]], unused: Unused) -> None:
    """Remove series with all slices in a larger series, or in an equal earlier one."""
    seen: set[tuple[str, str, str, tuple[float, ...]]] = set()
    for path, slices in sorted(parts.items(), key=lambda item: (-len(item[1]), item[0])):
        keys = {(one.patient, one.series, one.instance, one.position) for one in slices}
        if _distinct(slices) and keys <= seen:
            unused["DICOM copies"] += [one.file for one in slices]
            del parts[path]
        seen |= keys
