"""NIfTI headers, and writing of label maps with the geometry of their scan."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from nibabel.openers import Opener

from tools.data.formats.sources import DEFLATE_RATIO, MAX_VOXELS, check_declared_size
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.outputs import MARK

SCANNER = 1  # NIfTI code of scanner-anatomical coordinates
MAX_OFFSET = 2**24  # bytes that header and extensions may take, which nibabel reads whole
#: header fields of the geometry
GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def read_header(path: str | Path, max_voxels: int = MAX_VOXELS) -> nibabel.Nifti1Header:
    """Read the header of a NIfTI file, and compare the size it declares with the file and a limit.

    Args:
        path: NIfTI file, compressed if its name ends so.
        max_voxels: largest number of values.

    Raises:
        InputError: see `check_declared_size`; voxels that lie too far behind the header.
    """
    with Opener(path) as file:
        block = file.read(nibabel.Nifti2Header.sizeof_hdr)
    second = nibabel.Nifti2Header.sizeof_hdr in (int.from_bytes(block[:4], order) for order in ("little", "big"))
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    header = kind(block[: kind.sizeof_hdr], check=False)
    offset = header.get_data_offset()
    if not 0 <= offset <= MAX_OFFSET:
        raise InputError(f"{path}: vox_offset: expected 0 to {MAX_OFFSET} bytes, found {offset}")
    ratio = DEFLATE_RATIO if str(path).lower().endswith(".gz") else 1
    stored = ratio * Path(path).stat().st_size - offset
    check_declared_size(path, header.get_data_shape(), max_voxels, header.get_data_dtype().itemsize, stored)
    return header


def write_labels(path: str | Path, labels: np.ndarray, affine: np.ndarray, source: str | Path) -> None:
    """Write a label map atomically, with a description that marks it as an output.

    If the scan is a NIfTI file, its geometry (unit, codes, qform and sform) is copied unchanged, so that viewers align
    both. Otherwise, the unit is mm and both codes are scanner-anatomical.

    Args:
        path: output NIfTI file.
        labels: label map (D, H, W) on the grid of the scan.
        affine: affine (4, 4) to RAS mm.
        source: file of the scan.
    """
    image = _image(labels, affine, source)
    image.header["descrip"] = MARK
    with atomic_write(path) as temporary:
        nibabel.save(image, temporary)


def _image(labels: np.ndarray, affine: np.ndarray, source: str | Path) -> nibabel.Nifti1Image:
    if str(source).lower().endswith((".nii", ".nii.gz")):
        scan = nibabel.load(source)
        header = type(scan.header)()
        for field in GEOMETRY:
            header[field] = scan.header[field]
        return type(scan)(labels, None, header, dtype=labels.dtype)
    image = nibabel.Nifti1Image(labels, affine, dtype=labels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, SCANNER)
    image.set_sform(affine, SCANNER)
    return image


def copy_geometry(path: str | Path, source: str | Path) -> None:
    """Copy the geometry of a scan to a NIfTI label map, see `write_labels`.

    Args:
        path: NIfTI file to rewrite, with an affine to RAS mm.
        source: file of the scan.
    """
    labels = nibabel.load(path)
    write_labels(path, np.asarray(labels.dataobj), labels.affine, source)
