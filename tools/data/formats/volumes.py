"""Reading of volumes in all supported formats, with the affine to RAS mm."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data import MetaTensor, NibabelReader
from monai.transforms import EnsureChannelFirst

from tools.data.formats import metaimage, nifti, nrrd
from tools.data.formats.dicom import DicomSeriesReader, series_files
from tools.data.formats.sources import MAX_VOXELS
from tools.data.formats.units import nifti_unit, scale_affine
from tools.utils.errors import InputError
from tools.utils.inputs import check_readable, unreadable_error

NIFTI, NRRD, METAIMAGE = (".nii", ".nii.gz"), (".nrrd", ".nhdr"), (".mha", ".mhd")


def is_dicom_path(path: str) -> bool:
    """Return whether `read_volume` reads a path as DICOM: a folder, or a suffix of no other format."""
    return not path.lower().endswith((*NIFTI, *NRRD, *METAIMAGE)) or os.path.isdir(path)


def data_files(path: Path) -> list[Path]:
    """Return the data files of a detached NRRD or MetaImage header; empty for other volumes.

    Raises:
        InputError: if a data file is outside the folder of the header, cannot be opened, or there are several.
    """
    name = path.name.lower()
    if not name.endswith((*NRRD, *METAIMAGE)):
        return []
    return (nrrd if name.endswith(NRRD) else metaimage).data_files(path)


def source_files(path: Path) -> list[Path]:
    """Return the files that determine a volume: DICOM slices, detached data files, or the file itself.

    For a folder, all its files are returned. For an unreadable path, the path itself is returned.
    """
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if file.is_file()]
    with contextlib.suppress(InputError):
        is_series = not path.exists() and is_dicom_path(path.name)
        return sorted(series_files(path)) if is_series else [path, *data_files(path)]
    return [path]


def read_volume(source: str | Path | Sequence[str], max_voxels: int = MAX_VOXELS) -> MetaTensor:
    """Read a volume: NIfTI with nibabel, NRRD with pynrrd, MHA and MHD with ITK, other files as a DICOM series.

    The suffix determines the format. MONAI's `LoadImage` tries all readers on an invalid file, and its numpy reader
    unpickles.

    Args:
        source: file, folder of a DICOM series, or files of its slices.
        max_voxels: largest number of voxels over all channels; a file that declares more is not read.

    Returns:
        Voxels (C, D, H, W) float32 with the affine to RAS mm.

    Raises:
        InputError: if the file cannot be read, with the reason in one line.
    """
    name = str(source) if isinstance(source, str | Path) else str(source[0])
    try:
        voxels, meta = _read(name, source, max_voxels)
        voxels = np.asarray(voxels)
        if voxels.dtype.kind not in "biuf":
            raise InputError(f"{name}: expected a volume of real numbers, found {_describe(voxels.dtype)}")
        if not np.linalg.det(np.asarray(meta["affine"])[:3, :3]):
            raise InputError(f"{name}: expected an invertible affine, found a singular one")
        meta["filename_or_obj"] = name
        return EnsureChannelFirst()(MetaTensor.ensure_torch_and_prune_meta(voxels.astype(np.float32), meta))
    except InputError:
        raise
    except Exception as error:  # libraries raise various errors
        raise unreadable_error(name, "volume", error) from error


def _read(name: str, source: str | Path | Sequence[str], max_voxels: int) -> tuple[np.ndarray, dict[str, Any]]:
    if is_dicom_path(name):
        dicom = DicomSeriesReader(max_voxels)
        return dicom.get_data(dicom.read(source))
    check_readable(name, "volume")
    if name.lower().endswith(NRRD):
        return nrrd.read_nrrd(name, max_voxels)
    if name.lower().endswith(METAIMAGE):
        return metaimage.read_metaimage(name, max_voxels)
    nifti.read_header(name, max_voxels)
    # not shared, since the reader stores the file name and is not thread-safe
    reader = _MillimetreReader(squeeze_non_spatial_dims=True)
    return reader.get_data(reader.read(name))


def _describe(dtype: np.dtype) -> str:
    if dtype.kind == "c":
        return f"complex numbers ({dtype}); save the magnitude"
    return f"colour ({dtype})" if dtype.names else str(dtype)


class _MillimetreReader(NibabelReader):
    """MONAI's reader with a conversion of the length unit."""

    def _get_affine(self, img: nibabel.Nifti1Image) -> np.ndarray:
        return scale_affine(super()._get_affine(img), nifti_unit(img.header, img.get_filename()))
