"""Reader of DICOM series: stacking of slices, and the affine to RAS mm."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from monai.data import ImageReader
from monai.data.utils import orientation_ras_lps
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tools.data.formats.dicom_series import Series, Unused, check_deflated, describe_unused, find_series
from tools.data.formats.sources import MAX_VOXELS, check_declared_size
from tools.utils.errors import InputError
from tools.utils.inputs import unreadable_error

RESCALE = {"RescaleSlope": 1, "RescaleIntercept": 0}  # default values
EMPTY = (None, "")
#: decoder package pylibjpeg-… by transfer syntax: JPEG and JPEG-LS, JPEG 2000 and HTJ2K
DECODERS = {
    f"1.2.840.10008.1.2.4.{number}": module
    for module, numbers in {"libjpeg": (50, 51, 57, 70, 80, 81), "openjpeg": (90, 91, 201, 202, 203)}.items()
    for number in numbers
}
# pydicom logs the traceback of decoder errors and also raises them
logging.getLogger("pydicom.pixels.decoders.base").addFilter(lambda record: record.levelno < logging.ERROR)
STEP_TOLERANCE = 0.1  # fraction of the median slice distance; larger deviations are gaps


class DicomSeriesReader(ImageReader):
    """MONAI reader of a DICOM series, which sorts slices by position.

    MONAI's `PydicomReader` sorts slices by InstanceNumber, which may not follow the position. It also drops slices
    without InstanceNumber, stacks several series of a folder, and does not detect missing slices.

    Args:
        max_voxels: largest number of voxels of a volume.
    """

    def __init__(self, max_voxels: int = MAX_VOXELS) -> None:
        super().__init__()
        self.max_voxels = max_voxels

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Return True, since DICOM files need no suffix."""
        return True

    def read(self, data: Sequence[str] | str, **kwargs: Any) -> list[pydicom.Dataset]:
        """Read the slices of one series.

        Args:
            data: folder, ``<folder>/<SeriesInstanceUID>``, or files of the slices.
            **kwargs: arguments of `pydicom.dcmread`.

        Raises:
            InputError: if the series does not exist, or the folder has several series.
        """
        paths = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(path) for path in data]
        if len(paths) == 1 and not paths[0].is_file():
            paths = list(series_files(paths[0]))
        for path in paths:
            check_deflated(path, self.max_voxels)
        return [_with_syntax(pydicom.dcmread(path, force=True, **kwargs)) for path in paths]

    def get_data(self, img: list[pydicom.Dataset]) -> tuple[np.ndarray, dict[str, Any]]:
        """Stack the slices.

        Returns:
            Voxels (columns, rows, slices) float32 after rescale slope and intercept, and the metadata of a MONAI
            reader, with the affine to RAS mm.

        Raises:
            InputError: if the slices are not a regular volume.
        """
        sizes = [(int(one.get("Columns") or 0), int(one.get("Rows") or 0)) for one in img]
        check_declared_size(_folder(img), (*max(sizes), len(img)), self.max_voxels)
        voxels, affine = stack_slices(img)
        return voxels, {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.asarray(voxels.shape),
            "original_channel_dim": float("nan"),
            "space": "RAS",
        }


def series_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a series.

    Args:
        path: path of a series from `find_series`: a folder, or ``<folder>/<SeriesInstanceUID>``.

    Raises:
        InputError: if the series does not exist, or the folder has several series.
    """
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: expected a folder of DICOM slices, found nothing")
    series, unused = _series_of(folder, folder.stat().st_mtime_ns)
    for one in series:
        if path == one.path:
            return one.files
    found = ", ".join(one.path.name for one in series) or describe_unused(unused, folder) or "no DICOM slices"
    raise InputError(f"{path}: expected one DICOM series, found {found}")


@lru_cache(maxsize=4)  # a folder with many series is searched only once
def _series_of(folder: Path, _time: int) -> tuple[list[Series], Unused]:
    return find_series(file for file in folder.iterdir() if not file.name.startswith("."))


def _with_syntax(one: pydicom.FileDataset) -> pydicom.FileDataset:
    """Set the transfer syntax of a slice without file meta information."""
    if "TransferSyntaxUID" not in one.file_meta:
        implicit, little_endian = one.is_implicit_VR, one.is_little_endian
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return one


def stack_slices(slices: Sequence[pydicom.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Stack slices to a volume.

    Args:
        slices: single-frame slices with pixels, in any order.

    Returns:
        Voxels (columns, rows, slices) float32 and the affine (4, 4) from voxel index to RAS mm.

    Raises:
        InputError: if slices differ in size, spacing or orientation, have equal positions, or have gaps.
    """
    folder = _folder(slices)
    for tag in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"):
        values = [np.asarray(one[tag].value, dtype=float) if tag in one else np.empty(0) for one in slices]
        if not values[0].size or (
            tag != "ImagePositionPatient"
            and any(v.shape != values[0].shape or not np.allclose(v, values[0], atol=1e-3) for v in values)
        ):
            raise InputError(
                f"{folder}: expected the same {tag} in all DICOM slices, found slices that differ or lack it"
            )
    if any(int(one.get("SamplesPerPixel") or 1) != 1 for one in slices):
        raise InputError(f"{folder}: expected greyscale DICOM slices, found colour")
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
    return _pixels(slices), orientation_ras_lps(affine)


def _check_steps(folder: Path, steps: np.ndarray) -> None:
    """Check that slice distances (mm along the normal) are positive and equal."""
    if not len(steps):
        raise InputError(f"{folder}: expected a DICOM series of at least 2 slices, found 1")
    if steps.min() < 1e-3:
        raise InputError(
            f"{folder}: expected one DICOM slice per position, found several (time points or echoes?); split "
            "the series or convert it to NIfTI"
        )
    middle = float(np.median(steps))
    if np.abs(steps - middle).max() > STEP_TOLERANCE * middle:
        raise InputError(
            f"{folder}: expected evenly spaced DICOM slices, found distances from {steps.min():.2f} to "
            f"{steps.max():.2f} mm (slices missing?)"
        )


def _pixels(slices: Sequence[pydicom.FileDataset]) -> np.ndarray:
    """Return voxels (columns, rows, slices) in the unit of the rescale tags (HU in CT)."""
    slopes, intercepts = (_rescale(slices, tag, default) for tag, default in RESCALE.items())
    if empty := [tag for tag in RESCALE if tag in slices[0] and slices[0].get(tag) in EMPTY]:
        print(f"warning: {_folder(slices)}: {' and '.join(empty)} without a value; stored values are not rescaled")
    if not slopes.all():
        raise InputError(f"{_folder(slices)}: expected a RescaleSlope other than 0, found 0")
    return np.stack([_decode(one).astype(np.float32).T for one in slices], axis=-1) * slopes + intercepts


def _rescale(slices: Sequence[pydicom.FileDataset], tag: str, default: float) -> np.ndarray:
    """Return the value of a rescale tag in each slice; `default` if it is missing or empty in all slices."""
    empty = [one.get(tag) in EMPTY for one in slices]
    if all(empty):
        return np.full(len(slices), default, np.float32)
    if any(empty):
        without = slices[empty.index(True)].filename
        raise InputError(f"{without}: expected {tag} as in other slices of the series, found none")
    return np.asarray([one[tag].value for one in slices], dtype=np.float32)


def _folder(slices: Sequence[pydicom.FileDataset]) -> Path:
    return Path(slices[0].filename).parent


def _decode(one: pydicom.FileDataset) -> np.ndarray:
    """Return the stored values (rows, columns); an error names missing decoder packages."""
    try:
        return one.pixel_array
    except Exception as error:
        syntax = one.file_meta.TransferSyntaxUID
        module = DECODERS.get(syntax)
        if module is None or importlib.util.find_spec(module) is not None:
            raise unreadable_error(one.filename, "DICOM slice", error) from error
        raise InputError(
            f"{one.filename}: expected a transfer syntax of the installed decoders, found {syntax.name}; "
            f"pip install pylibjpeg pylibjpeg-{module}"
        ) from error
