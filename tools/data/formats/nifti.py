"""Writing of NIfTI label maps with the geometry of their scan."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from tools.utils.files import atomic_write
from tools.utils.outputs import MARK

SCANNER = 1  # NIfTI code of scanner-anatomical coordinates
#: header fields of the geometry
GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


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
