"""DICOM series: which slices of a folder belong together, and the volume they make."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from monai.data import ImageReader
from monai.data.utils import orientation_ras_lps
from pydicom.misc import is_dicom

from tools.utils.errors import InputError

SERIES_TAGS = ["SeriesInstanceUID", "PatientID", "ImageType", "NumberOfFrames", "Rows", "ImagePositionPatient"]
UID = re.compile(r"[0-9][0-9.]{0,63}")  # it becomes the name of a file
MIN_SLICES = 3
STEP_TOLERANCE = 0.1  # of the median slice distance; beyond it slices are missing


@dataclass(frozen=True)
class Series:
    """One DICOM series.

    Args:
        path: its folder, or ``<folder>/<SeriesInstanceUID>`` where the folder holds several series.
        patient: the PatientID, empty when the file does not tell.
        files: its slices, in no particular order.
    """

    path: Path
    patient: str
    files: tuple[Path, ...]


def find_series(folder: Path, files: Iterable[Path]) -> tuple[list[Series], list[str]]:
    """Group the DICOM slices among `files` by series.

    Args:
        folder: the folder the files lie in.
        files: candidates of any suffix; files without the DICOM magic are ignored.

    Returns:
        The usable series, and one line for every series left out, with the reason.

    Raises:
        InputError: a damaged header.
    """
    slices: dict[str, list[pydicom.Dataset]] = {}
    for file in sorted(files):
        if is_dicom(file):
            header = _header(file)
            if "Rows" in header and "SeriesInstanceUID" in header:
                slices.setdefault(str(header.SeriesInstanceUID), []).append(header)
    reasons = {uid: _why_unusable(uid, headers) for uid, headers in slices.items()}
    usable = sorted(uid for uid, reason in reasons.items() if not reason)
    series = [
        Series(
            folder if len(usable) == 1 else folder / uid,
            str(slices[uid][0].get("PatientID") or ""),
            tuple(Path(header.filename) for header in slices[uid]),
        )
        for uid in usable
    ]
    return series, [f"{folder}: series {uid[:64]!r}: {reason}" for uid, reason in sorted(reasons.items()) if reason]


def _header(file: Path) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=SERIES_TAGS)
    except Exception as error:  # pydicom raises many kinds on damaged headers
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{file}: expected a readable DICOM header, found {reason}") from error


def _why_unusable(uid: str, headers: list[pydicom.Dataset]) -> str:
    if not UID.fullmatch(uid):
        return "expected a SeriesInstanceUID of digits and dots, at most 64"
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        return "multi-frame DICOM is not read, convert it to NIfTI (dcm2niix)"
    if len(headers) < MIN_SLICES or "LOCALIZER" in (headers[0].get("ImageType") or ()):
        return f"a localizer ({len(headers)} slices)"
    if not all("ImagePositionPatient" in header for header in headers):
        return "slices without ImagePositionPatient"
    return ""


class DicomSeriesReader(ImageReader):
    """A MONAI reader for one DICOM series, placed by the position and orientation of its slices.

    MONAI's `PydicomReader` orders slices by InstanceNumber, which scanners and anonymisers do not tie to position,
    drops slices without one, stacks several series of one folder into one volume and does not see missing slices.
    """

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Always True: DICOM files need no suffix."""
        return True

    def read(self, data: Sequence[str] | str, **kwargs: Any) -> list[pydicom.Dataset]:
        """Read the slices of one series.

        Args:
            data: a folder, ``<folder>/<SeriesInstanceUID>``, or the files of the slices.
            **kwargs: arguments of `pydicom.dcmread`.

        Raises:
            InputError: there is no such series, or the folder holds several.
        """
        paths = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(path) for path in data]
        if len(paths) == 1 and not paths[0].is_file():
            paths = list(self._files(paths[0]))
        return [pydicom.dcmread(path, **kwargs) for path in paths]

    @staticmethod
    def _files(path: Path) -> tuple[Path, ...]:
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir():
            raise InputError(f"{path}: expected a folder of DICOM slices, found nothing")
        series, skipped = find_series(folder, (file for file in folder.iterdir() if file.is_file()))
        for one in series:
            if path == one.path:
                return one.files
        found = ", ".join(one.path.name for one in series) or "; ".join(skipped) or "no DICOM slices"
        raise InputError(f"{path}: expected one DICOM series, found {found}")

    def get_data(self, img: list[pydicom.Dataset]) -> tuple[np.ndarray, dict[str, Any]]:
        """Stack the slices.

        Returns:
            Voxels (columns, rows, slices) float32 after rescale slope and intercept, and the metadata MONAI expects,
            with the affine to RAS mm.

        Raises:
            InputError: the slices do not make one regular volume.
        """
        voxels, affine = stack_slices(img)
        return voxels, {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.asarray(voxels.shape),
            "original_channel_dim": float("nan"),
            "space": "RAS",
        }


def stack_slices(slices: Sequence[pydicom.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Volume and geometry of a series.

    Args:
        slices: single-frame slices with pixels, in any order.

    Returns:
        Voxels (columns, rows, slices) float32 and the affine (4, 4) from voxel index to RAS mm.

    Raises:
        InputError: slices differ in size, spacing or orientation, share a position, or are missing in between.
    """
    folder = Path(slices[0].filename).parent
    for tag in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"):
        values = [np.asarray(one[tag].value, dtype=float) if tag in one else np.empty(0) for one in slices]
        if not values[0].size or (
            tag != "ImagePositionPatient"
            and any(v.shape != values[0].shape or not np.allclose(v, values[0], atol=1e-3) for v in values)
        ):
            raise InputError(f"{folder}: expected a DICOM series with one {tag}, found slices that differ or lack it")
    if any(int(one.get("SamplesPerPixel", 1)) != 1 for one in slices):
        raise InputError(f"{folder}: expected grey DICOM slices, found colour")
    row, column = np.reshape(np.asarray(slices[0].ImageOrientationPatient, dtype=float), (2, 3))
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda one: float(normal @ np.asarray(one.ImagePositionPatient, dtype=float)))
    positions = np.asarray([one.ImagePositionPatient for one in slices], dtype=float)
    _check_steps(folder, np.diff(positions @ normal))
    affine = np.eye(4)
    between_rows, between_columns = (float(value) for value in slices[0].PixelSpacing)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1)
    affine[:3, 3] = positions[0]
    return np.stack([_pixels(one) for one in slices], axis=-1), orientation_ras_lps(affine)


def _check_steps(folder: Path, steps: np.ndarray) -> None:
    """Refuse slices at one place and gaps between slices (steps in mm along the normal)."""
    if not len(steps):
        raise InputError(f"{folder}: expected a DICOM series of at least 2 slices, found 1")
    if steps.min() < 1e-3:
        raise InputError(
            f"{folder}: expected one DICOM slice per place, found several (a series over time, echoes or directions?); "
            "split it or convert it to NIfTI"
        )
    middle = float(np.median(steps))
    if np.abs(steps - middle).max() > STEP_TOLERANCE * middle:
        raise InputError(
            f"{folder}: expected evenly spaced DICOM slices, found distances from {steps.min():.2f} to "
            f"{steps.max():.2f} mm (slices missing?)"
        )


def _pixels(one: pydicom.Dataset) -> np.ndarray:
    """Voxels of a slice as (columns, rows), in the unit of the rescale tags (HU in CT)."""
    slope = np.float32(one.get("RescaleSlope", 1))
    intercept = np.float32(one.get("RescaleIntercept", 0))
    return one.pixel_array.astype(np.float32).T * slope + intercept
