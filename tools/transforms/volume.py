"""From files to checked volumes: reading any format, refusing what cannot be used, hashing voxels, padding."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader, NrrdReader
from monai.transforms import EnsureChannelFirst, MapTransform, SpatialPad
from monai.utils import ensure_tuple_rep

from tools.data.dicom import DicomSeriesReader
from tools.errors import InputError
from tools.transforms.checks import check_values, sample_name, unreadable

GRID_TOLERANCE = 0.1  # mm at the far corner; programs round the same header differently
NRRD_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


class LoadVolumed(MapTransform):
    """Read volumes of any format.

    NIfTI by nibabel, NRRD by pynrrd, MHA and MHD by itk, anything else as a DICOM series. The reader follows from the
    path; MONAI's `LoadImage` would try all of its readers on a bad file, and numpy's unpickles.

    Args:
        keys: keys whose value is a path or a list of paths, one per channel. A list of DICOM slices is one series.

    Returns:
        The sample with `MetaTensor` (C, D, H, W) float32 and the affine to RAS mm under the keys.

    Raises:
        InputError: a file cannot be read, or the channels of a case lie on different grids.
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
    extent = torch.tensor([*first.shape[1:], 1], dtype=first.affine.dtype)
    for path, volume in zip(paths, volumes, strict=True):
        if volume.shape[1:] != first.shape[1:]:
            grids = f"{tuple(first.shape[1:])} and {tuple(volume.shape[1:])} voxels"
        elif ((volume.affine - first.affine).abs() @ extent).max() > GRID_TOLERANCE:
            grids = "different affines"
        else:
            continue
        raise InputError(f"{path}: expected the grid of {paths[0]}, found {grids}; resample the channels to one grid")
    return MetaTensor(torch.cat([volume.as_tensor() for volume in volumes]), meta=first.meta)


def _reader(path: str) -> ImageReader:
    """A new reader; MONAI's keep the file names between reading and decoding, so threads cannot share one."""
    name = path.lower()
    if name.endswith((".nii", ".nii.gz")):
        return NibabelReader()
    if name.endswith((".nrrd", ".nhdr")):
        return _AnyAxesNrrdReader()
    return ITKReader() if name.endswith((".mha", ".mhd")) else DicomSeriesReader()


def _read(name: str, source: Any) -> MetaTensor:
    try:
        reader = _reader(name)
        voxels, meta = reader.get_data(reader.read(source))
        meta["filename_or_obj"] = name
        volume = MetaTensor.ensure_torch_and_prune_meta(np.asarray(voxels, dtype=np.float32), meta)
        return EnsureChannelFirst()(volume)
    except InputError:
        raise
    except Exception as error:  # readers raise whatever their library does
        raise unreadable(name, "volume", error) from error


class _AnyAxesNrrdReader(NrrdReader):
    """MONAI's reader, which takes every space but "left-posterior-superior" spelt out for RAS."""

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

    Raises:
        InputError: not three spatial dimensions of at least 2 voxels, another number of channels, or voxels that are
            NaN or infinite.
    """

    def __init__(self, keys: KeysCollection = "image", channels: int | None = None) -> None:
        super().__init__(keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one sample; it is returned unchanged."""
        for key in self.keys:
            volume = torch.Tensor.as_subclass(data[key], torch.Tensor)
            name, shape = sample_name(data, key), tuple(volume.shape)
            if len(shape) != 4 or min(shape[1:]) < 2:
                raise InputError(f"{name}: expected a volume with 3 spatial dimensions, found size {shape[1:]}")
            if self.channels is not None and shape[0] != self.channels:
                hint = f"; say --in_channels {shape[0]} if all scans have them" if shape[0] > 1 else ""
                raise InputError(f"{name}: expected {self.channels} channel(s), found {shape[0]}{hint}")
            check_values(name, volume)
        return dict(data)


class HashVoxelsd(MapTransform):
    """Add under "hashes" the SHA-256 of every channel's shape and float32 voxels (pixels), keys one after another.

    Constant channels, which many cases share, have none.

    For volumes, after ``Orientationd(axcodes="RAS")`` it does not depend on the file format and the stored orientation.

    Args:
        keys: keys of tensors (C, *spatial).
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Hash one sample."""
        channels = [channel for key in self.keys for channel in np.asarray(data[key].cpu(), dtype="<f4")]
        return {**data, "hashes": [_sha256(channel) for channel in channels if channel.min() < channel.max()]}


def _sha256(channel: np.ndarray) -> str:
    digest = hashlib.sha256(repr(channel.shape).encode())
    digest.update(np.ascontiguousarray(channel))
    return digest.hexdigest()


class _Once:
    """Prints its first line only; without ``__dict__``, so that a cache's fingerprint does not see it change."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        self.said = False

    def say(self, line: str) -> None:
        if not self.said:
            self.said = True
            print(line)


class PadToRoid(MapTransform):
    """Pad images smaller than the crop by reflection, never by zeros; the first one is told in a line.

    Reflection always fits, since an axis has at least half the size wanted and grows on both sides.

    Args:
        keys: keys of tensors (C, *spatial).
        roi_size: size of the crop in voxels or pixels, one number for all axes; 1 never pads an axis.

    Raises:
        InputError: an axis is shorter than half the crop.
    """

    def __init__(self, keys: KeysCollection = "image", roi_size: Sequence[int] | int = 64) -> None:
        super().__init__(keys)
        self.roi_size = roi_size if isinstance(roi_size, int) else tuple(int(size) for size in roi_size)
        self._pad = SpatialPad(self.roi_size, mode="reflect")
        self._once = _Once()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad one sample where needed."""
        sample = dict(data)
        for key in self.keys:
            size = tuple(sample[key].shape[1:])
            roi_size = ensure_tuple_rep(self.roi_size, len(size))
            unit, remedy = ("voxels", "finer --spacing") if len(size) == 3 else ("pixels", "larger --picture_size")
            pairs = list(zip(size, roi_size, strict=True))
            if any(2 * have < need for have, need in pairs):
                raise InputError(
                    f"{sample_name(sample, key)}: expected at least half of roi_size {roi_size} {unit}, found {size}; "
                    f"use a {remedy} or a smaller --roi_size"
                )
            if any(have < need for have, need in pairs):
                self._once.say(
                    f"warning: {sample_name(sample, key)}: {size} {unit} padded by reflection to roi_size {roi_size}; "
                    "later ones are not told"
                )
                sample[key] = self._pad(sample[key])
        return sample
