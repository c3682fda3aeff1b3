"""From files to checked volumes: reading any format, refusing what cannot be used."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader, NrrdReader
from monai.transforms import EnsureChannelFirst, MapTransform

from tools.data.formats.dicom import DicomSeriesReader
from tools.data.formats.units import check_metaimage_unit, nifti_unit, nrrd_unit, scale_affine
from tools.transforms.checks import check_values, sample_name, unreadable
from tools.utils.errors import InputError

GRID_TOLERANCE = 0.1  # mm at the far corner; programs round the same header differently
DEFLATE_RATIO = 1100  # bytes that a byte of a compressed file can hold, at most
NRRD_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


class LoadVolumed(MapTransform):
    """Read volumes of any format.

    NIfTI by nibabel, NRRD by pynrrd, MHA and MHD by itk, anything else as a DICOM series. The reader follows from the
    path; MONAI's `LoadImage` would try all of its readers on a bad file, and numpy's unpickles. Affines in another unit
    of length than mm (NIfTI ``xyzt_units``, NRRD ``space units``) are converted.

    Args:
        keys: keys whose value is a path or a list of paths, one per channel. A list of DICOM slices is one series.

    Returns:
        The sample with `MetaTensor` (C, D, H, W) float32 and the affine to RAS mm under the keys.

    Raises:
        InputError: a file cannot be read, its unit of length is unknown, or the channels of a case lie on
            different grids.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files of one sample."""
        sample = dict(data)
        for key in self.keys:
            sample[key] = _load(sample[key])
        return sample


def _load(source: str | Sequence[str]) -> MetaTensor:
    if isinstance(source, str | Path):
        return _read(str(source), source)
    paths = [str(path) for path in source]
    if len(paths) > 1 and all(isinstance(_reader(path), DicomSeriesReader) and Path(path).is_file() for path in paths):
        return _read(paths[0], paths)
    volumes = [_read(path, path) for path in paths]
    first = volumes[0]
    for path, volume in zip(paths, volumes, strict=True):
        if different := grid_difference(volume, first):
            raise InputError(
                f"{path}: expected the grid of {paths[0]}, found {different}; resample the channels to one grid"
            )
    return MetaTensor(torch.cat([volume.as_tensor() for volume in volumes]), meta=first.meta)


def grid_difference(one: MetaTensor, other: MetaTensor) -> str | None:
    """What differs between the grids of two volumes (C, D, H, W), in words, or None."""
    if one.shape[1:] != other.shape[1:]:
        return f"{tuple(other.shape[1:])} and {tuple(one.shape[1:])} voxels"
    extent = torch.tensor([*one.shape[1:], 1], dtype=one.affine.dtype)
    return "different affines" if ((one.affine - other.affine).abs() @ extent).max() > GRID_TOLERANCE else None


def _reader(path: str) -> ImageReader:
    """A new reader; MONAI's keep the file names between reading and decoding, so threads cannot share one."""
    name = path.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _CheckedNibabelReader(path)
    if name.endswith((".nrrd", ".nhdr")):
        return _AnyAxesNrrdReader(path)
    return ITKReader() if name.endswith((".mha", ".mhd")) else DicomSeriesReader()


def _read(name: str, source: Any) -> MetaTensor:
    try:
        reader = _reader(name)
        if not isinstance(reader, DicomSeriesReader):
            open(name, "rb").close()  # nibabel hides why it cannot open a file
        if isinstance(reader, ITKReader):
            check_metaimage_unit(name)
        voxels, meta = reader.get_data(reader.read(source))
        meta["filename_or_obj"] = name
        volume = MetaTensor.ensure_torch_and_prune_meta(np.asarray(voxels, dtype=np.float32), meta)
        return EnsureChannelFirst()(volume)
    except InputError:
        raise
    except Exception as error:  # readers raise whatever their library does
        raise unreadable(name, "volume", error) from error


class _CheckedNibabelReader(NibabelReader):
    """MONAI's reader, which ignores the unit of length and believes any size."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def read(self, data: Any, **kwargs: Any) -> nibabel.Nifti1Image:
        """Open the file; a damaged header must not pass for a shortage of memory."""
        image = super().read(data, **kwargs)
        size, wanted = Path(self.path).stat().st_size, math.prod(image.shape) * image.get_data_dtype().itemsize
        if wanted > size * DEFLATE_RATIO:
            raise InputError(f"{self.path}: expected {image.shape} voxels, found {size} bytes; the file is damaged")
        return image

    def _get_affine(self, img: nibabel.Nifti1Image) -> np.ndarray:
        return scale_affine(super()._get_affine(img), nifti_unit(img.header, self.path))


class _AnyAxesNrrdReader(NrrdReader):
    """MONAI's reader, which takes every space but "left-posterior-superior" spelt out for RAS, any unit for mm."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def _get_affine(self, header: dict[str, Any]) -> np.ndarray:
        return scale_affine(super()._get_affine(header), nrrd_unit(header, self.path))

    def _switch_lps_ras(self, header: dict[str, Any]) -> dict[str, Any]:
        space = header.get("space", "left-posterior-superior")
        letters = "".join(word[0] for word in space.split("-")).upper() if "-" in space else space
        if len(letters) != 3 or not set(letters) <= set(NRRD_AXES):
            raise ValueError(f"a space of {space!r} instead of one such as 'left-posterior-superior'")
        to_ras = np.zeros((4, 4))
        to_ras[3, 3] = 1
        for column, letter in enumerate(letters):
            row, sign = NRRD_AXES[letter]
            to_ras[row, column] = sign
        header["original_affine"] = to_ras @ header["original_affine"]
        header["space"] = "RAS"
        return header


class CheckVolumed(MapTransform):
    """Refuse volumes that cannot be used; say which are constant.

    Args:
        keys: keys of tensors (C, D, H, W).
        channels: number of channels expected; None takes any.
        key: of the configuration, to change `channels`; None where there is none.
        smallest: voxels an axis must have; 1 for single slices.

    Raises:
        InputError: not three spatial dimensions of at least `smallest` voxels, another number of channels, or voxels
            that are NaN or infinite.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        channels: int | None = None,
        key: str | None = "in_channels",
        smallest: int = 2,
    ) -> None:
        super().__init__(keys)
        self.channels = channels
        self.key = key
        self.smallest = smallest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one sample; it is returned unchanged."""
        for key in self.keys:
            volume = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(volume.shape)
            if len(shape) != 4 or min(shape[1:]) < self.smallest:
                few = f"; 3D networks need at least {self.smallest} voxels along each" if len(shape) == 4 else ""
                raise InputError(f"{name}: expected a volume with 3 spatial dimensions, found size {shape[1:]}{few}")
            if self.channels is not None and shape[0] != self.channels:
                hint = f"; say --{self.key} {shape[0]} if all scans have them" if self.key and shape[0] > 1 else ""
                raise InputError(f"{name}: expected {self.channels} channel(s), found {shape[0]}{hint}")
            check_values(name, volume)
        return dict(data)
