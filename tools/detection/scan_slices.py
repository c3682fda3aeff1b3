"""Scans in which lesions are looked for slice by slice: volumes, or the PNG slices around a key slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, DeleteItemsd, EnsureTyped, MapTransform, Orientation

from tools.detection.slice_stacks import AXCODES, place_around, read_slices, slice_affine
from tools.detection.stack_fitting import WINDOW
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd

KEY = "image"


def build_scan_preprocessing(slices: int, slice_spacing: float) -> Compose:
    """Build the transforms of one scan: read in HU, turned to `AXCODES`; nothing is resampled.

    Args:
        slices: slices of a stack.
        slice_spacing: mm between them.
    """
    unseen = DeleteItemsd(("boxes", "types", "noisy"))  # all else stays: MONAI Label asks for what it put in
    read = [LoadScanSlicesd(KEY, slices, slice_spacing), CheckWindowd(KEY, WINDOW, inference=True, adjustable=False)]
    return Compose([*read, EnsureTyped(KEY, track_meta=True), unseen])


class LoadScanSlicesd(MapTransform):
    """Read a volume, or of a key slice in PNG files of 16 bits just the slices that a stack around it needs.

    Args:
        keys: keys whose value is a path.
        slices: slices of a stack.
        spacing: mm between them.

    Returns:
        The sample with `MetaTensor` (1, X, Y, Z) float32 under the keys, in the orientation `AXCODES`: x to the
        patient's left, y to the back, z to the feet. "keys", indices (K,) of the slices to look at, all of a volume;
        "first", the number of its first slice, or 0. The affine's origin is a volume's own; of DeepLesion's files,
        which have none, it is the first pixel of the first slice, as in the NIfTI files that NIH's code makes of them.

    Raises:
        InputError: see `LoadVolumed`, `CheckVolumed` and `LoadSliceStackd`.
    """

    def __init__(self, keys: KeysCollection = "image", slices: int = 9, spacing: float = 2.5) -> None:
        super().__init__(keys)
        self.slices = slices
        self.spacing = spacing
        self.volume = Compose([LoadVolumed(keys), CheckVolumed(keys, channels=1, key=None)])
        self.turn = Orientation(axcodes=AXCODES, labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read one sample."""
        sample = dict(data)
        for key in self.keys:
            if "interval" in sample:
                sample[key], sample["first"] = self._read_around(str(sample[key]), sample)
                sample["keys"] = torch.tensor([int(Path(data[key]).stem) - sample["first"]])
            else:
                sample[key] = self.turn(self.volume({key: sample[key]})[key])
                sample["keys"], sample["first"] = torch.arange(sample[key].shape[-1]), 0
        return sample

    def _read_around(self, path: str, case: Mapping[Hashable, Any]) -> tuple[MetaTensor, int]:
        places = place_around(path, case, self.slices, self.spacing)
        first, last = min(places.lower), max(places.upper)
        volume = read_slices(path, case, range(first, last + 1)).permute(2, 1, 0)[None]
        start = (first - case["first"]) * case["interval"]
        affine = slice_affine(case["spacing"], case["interval"], start)
        return MetaTensor(volume, meta={"filename_or_obj": path, "affine": affine}), first
