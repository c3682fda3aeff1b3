"""Loading of scans for slice-by-slice detection: volumes, or the PNG slices around a key slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, DeleteItemsd, EnsureTyped, MapTransform, Orientation

from tools.data.formats.sources import MAX_VOXELS
from tools.detection.slice_stacks import AXCODES, read_slices, slice_affine, stack_around
from tools.detection.stack_resizing import WINDOW
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd

KEY = "image"


def build_scan_preprocessing(num_slices: int, slice_spacing: float, max_voxels: int = MAX_VOXELS) -> Compose:
    """Build the transforms of a scan: load in HU and reorient to `AXCODES`, without resampling.

    Args:
        num_slices: number of slices of a stack.
        slice_spacing: distance of the slices of a stack in mm.
        max_voxels: largest number of voxels of a volume.
    """
    annotations = DeleteItemsd(("boxes", "types", "noisy"))  # MONAI Label requires its other keys
    read = [
        LoadScanSlicesd(KEY, num_slices, slice_spacing, max_voxels),
        CheckWindowd(KEY, WINDOW, inference=True, adjustable=False),
    ]
    return Compose([*read, EnsureTyped(KEY, track_meta=True), annotations])


class LoadScanSlicesd(MapTransform):
    """Load a volume, or the slices of a stack around a key slice in 16-bit PNG files.

    Args:
        keys: keys whose value is a path.
        num_slices: number of slices of a stack.
        spacing: distance of the slices of a stack in mm.
        max_voxels: largest number of voxels of a volume.

    Returns:
        The sample with `MetaTensor` (1, X, Y, Z) float32 under the keys in the orientation `AXCODES`: x to the
        patient's left, y to posterior, z to inferior. "keys" has the indices (K,) of the slices to process, all slices
        of a volume, and "first" the number of the first slice, 0 for a volume. DeepLesion's files have no origin; the
        first pixel of the first slice is used, as in the NIfTI files of NIH's code.

    Raises:
        InputError: see `LoadVolumed`, `CheckVolumed` and `LoadSliceStackd`.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        num_slices: int = 9,
        spacing: float = 2.5,
        max_voxels: int = MAX_VOXELS,
    ) -> None:
        super().__init__(keys)
        self.num_slices = num_slices
        self.spacing = spacing
        self.volume = Compose([LoadVolumed(keys, max_voxels), CheckVolumed(keys, channels=1, key=None)])
        self.reorient = Orientation(axcodes=AXCODES, labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load one sample."""
        sample = dict(data)
        for key in self.keys:
            if "interval" in sample:
                sample[key], sample["first"] = self._read_around(str(sample[key]), sample)
                sample["keys"] = torch.tensor([int(Path(data[key]).stem) - sample["first"]])
            else:
                sample[key] = self.reorient(self.volume({key: sample[key]})[key])
                sample["keys"], sample["first"] = torch.arange(sample[key].shape[-1]), 0
        return sample

    def _read_around(self, path: str, case: Mapping[Hashable, Any]) -> tuple[MetaTensor, int]:
        positions = stack_around(path, case, self.num_slices, self.spacing)
        first, last = min(positions.lower), max(positions.upper)
        volume = read_slices(path, case, range(first, last + 1)).permute(2, 1, 0)[None]
        start = (first - case["first"]) * case["interval"]
        affine = slice_affine(case["spacing"], case["interval"], start)
        return MetaTensor(volume, meta={"filename_or_obj": path, "affine": affine}), first
