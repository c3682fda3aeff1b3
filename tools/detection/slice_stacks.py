"""Stacks of slices at one distance around a key slice of a CT: reading and interpolating."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, MapTransform, SelectItemsd

from tools.data.cache.backends import FACTS
from tools.data.pictures import open_picture
from tools.detection.stack_fitting import WINDOW, FitStackd
from tools.transforms.checks import check_values, unreadable
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.window import CheckWindowd
from tools.utils.errors import InputError

KEY = "image"
KEPT = (KEY, "boxes", "types", "noisy", "scale", "height", "width", "case", "patient", "spacing", *FACTS)
ZERO_UNITS = 32768  # stored value of 0 HU in DeepLesion's pictures
DIGITS = 6  # of a slice's place: less than that beside a file is on it
#: orientation of axial CT here: columns run to the patient's left, rows to the back, slices to the feet, as DeepLesion
#: numbers them; volumes are turned to it, so that stacks have the same order in training and inference
AXCODES = "LPI"


def build_stack_preprocessing(slices: int, slice_spacing: float, image_size: int, inference: bool = False) -> Compose:
    """Build the deterministic transforms of one key slice: read with its neighbours, standardise, scale, pad.

    Args:
        slices: slices of a stack.
        slice_spacing: mm between them.
        image_size: edge of the network's input in pixels.
        inference: keep the picture's file name and place, and make no hashes.

    Raises:
        InputError: a setting out of range.
    """
    hashes = [] if inference else [HashVoxelsd(KEY)]
    last = [EnsureTyped(KEY, track_meta=inference), SelectItemsd(KEPT, allow_missing_keys=True)]
    fit = [CheckWindowd(KEY, WINDOW, inference, adjustable=False), FitStackd(KEY, image_size)]
    return Compose([LoadSliceStackd(KEY, slices, slice_spacing), *hashes, *fit, *last])


def slice_affine(spacing: float, interval: float, start: float = 0.0) -> torch.Tensor:
    """Affine (4, 4) float64 from (column, row, slice) to RAS mm of slices in the orientation `AXCODES`.

    Args:
        spacing: mm per pixel.
        interval: mm between slices.
        start: mm from the origin to the first slice, in the direction of the slices.
    """
    signs = [1.0 if code in "RAS" else -1.0 for code in AXCODES]
    steps = [sign * edge for sign, edge in zip(signs, (spacing, spacing, interval), strict=True)]
    affine = torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))
    affine[2, 3] = signs[2] * start
    return affine


class StackPlaces(NamedTuple):
    """Where the slices of a stack lie: between which two slices of the CT each, and the share of the upper one."""

    lower: list[int]
    upper: list[int]
    weight: list[float]


def stack_places(
    key: int, first: int, last: int, interval: float, slices: int = 9, spacing: float = 2.5
) -> StackPlaces:
    """Place a stack around a key slice.

    Slice p of the stack, counted from the key slice, lies p · spacing / interval slices of the CT away from it; what
    would lie outside the CT repeats its end. The key slice is slice ``(slices - 1) // 2``, so that of an even number
    the extra one follows it. The CT's slices run from head to feet (`AXCODES`), and so do those of the stack.

    Args:
        key: number of the key slice.
        first: number of the CT's first slice.
        last: number of its last.
        interval: mm between slices of the CT.
        slices: slices of the stack.
        spacing: mm between them.

    Raises:
        InputError: a length that is not positive, fewer slices than one, or a key slice outside the CT.
    """
    _check_stack(slices, spacing)
    if not (math.isfinite(interval) and interval > 0):
        raise InputError(f"interval: expected mm between slices above 0, found {interval}")
    if not first <= key <= last:
        raise InputError(f"key slice: expected one from {first} to {last}, found {key}")
    before = (slices - 1) // 2
    places = StackPlaces([], [], [])
    for p in range(-before, slices - before):
        offset = round(min(max(p * spacing / interval, first - key), last - key), DIGITS)
        below = math.floor(offset)
        weight = float(offset - below)
        places.lower.append(key + below)
        places.upper.append(key + below + (weight > 0))
        places.weight.append(weight)
    return places


def _check_stack(slices: int, spacing: float) -> None:
    if not isinstance(slices, int) or isinstance(slices, bool) or slices < 1:
        raise InputError(f"slices: expected a whole number of at least 1, found {slices!r}")
    if not (math.isfinite(spacing) and spacing > 0):
        raise InputError(f"slice_spacing: expected mm between slices of a stack above 0, found {spacing}")


def take_stacks(volume: torch.Tensor, places: Sequence[StackPlaces]) -> torch.Tensor:
    """Take stacks of equally many slices out of a volume.

    Args:
        volume: (Z, H, W), floating.
        places: of K stacks; slices are numbered from 0 on, the first of the volume.

    Returns:
        (K, slices, H, W).
    """
    lower, upper = torch.tensor([(p.lower, p.upper) for p in places], device=volume.device).unbind(1)
    weight = torch.tensor([p.weight for p in places], dtype=volume.dtype, device=volume.device)
    return volume[lower].lerp_(volume[upper], weight[..., None, None])


class LoadSliceStackd(MapTransform):
    """Read a key slice with its neighbours from PNG files of 16 bits, as stacks of slices in HU.

    A case has its files' numbers ("first", "last"), "interval", "spacing", "height" and "width" beside the key slice's
    path, see `tools.data.find_lesions`. The neighbours lie beside it, ``<number>.png`` with as many digits. Only files
    that the stack needs are read. Values are interpolated before any window, see `stack_places`.

    Args:
        keys: keys whose value is the path of a key slice.
        slices: slices of a stack.
        spacing: mm between them.

    Returns:
        The sample with `MetaTensor` (1, slices, H, W) float32 in HU under the keys, slices from head to feet, with the
        affine from (slice, row, column) to RAS mm, whose origin is the first pixel of the CT's first slice; "boxes"
        (N, 4) float32, "types" (N,) int64 and "noisy" (N,) bool are tensors, where there are any.

    Raises:
        InputError: `slices` or `spacing` out of range; a file that is missing, cannot be read, has not 16 bits of grey,
            or another size than the case says.
    """

    def __init__(self, keys: KeysCollection = "image", slices: int = 9, spacing: float = 2.5) -> None:
        super().__init__(keys)
        _check_stack(slices, spacing)
        self.slices = slices
        self.spacing = spacing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the stack of one sample."""
        sample = dict(data)
        for key in self.keys:
            path = str(sample[key])
            stack = _read_stack(path, sample, self.slices, self.spacing)
            before = (int(Path(path).stem) - sample["first"]) * sample["interval"]
            start = before - (self.slices - 1) // 2 * self.spacing
            affine = slice_affine(sample["spacing"], self.spacing, start)[:, [2, 1, 0, 3]]
            sample[key] = MetaTensor(stack, meta={"filename_or_obj": path, "affine": affine})
        for name, kind in (("boxes", torch.float32), ("types", torch.int64), ("noisy", torch.bool)):
            if name in sample:
                values = torch.as_tensor(sample[name], dtype=kind)
                sample[name] = values.reshape(-1, 4) if name == "boxes" else values
        return sample


def _read_stack(path: str, case: Mapping[Hashable, Any], slices: int, spacing: float) -> torch.Tensor:
    """Stack (1, slices, H, W) in HU around a file."""
    places = place_around(path, case, slices, spacing)
    numbers = sorted({*places.lower, *places.upper})
    index = {number: place for place, number in enumerate(numbers)}
    lower, upper = ([index[number] for number in ends] for ends in places[:2])
    return take_stacks(read_slices(path, case, numbers), [StackPlaces(lower, upper, places.weight)])


def place_around(path: str, case: Mapping[Hashable, Any], slices: int, spacing: float) -> StackPlaces:
    """Place a stack around a case's key slice; arguments as for `read_slices` and `stack_places`.

    Raises:
        InputError: the file is not named by a number, or see `stack_places`.
    """
    file = Path(path)
    if not re.fullmatch(r"[0-9]{1,9}", file.stem):
        raise InputError(f"{path}{_row(case)}: expected a slice named by its number, such as 109.png")
    try:
        return stack_places(int(file.stem), case["first"], case["last"], case["interval"], slices, spacing)
    except InputError as error:
        raise InputError(f"{path}{_row(case)}: {error}") from error


def read_slices(path: str, case: Mapping[Hashable, Any], numbers: Sequence[int]) -> torch.Tensor:
    """Read slices of a case: (Z, H, W) float32 in HU.

    Args:
        path: the key slice; the others lie beside it.
        case: has "height" and "width", and "row" for messages.
        numbers: of the slices.

    Raises:
        InputError: a file is missing, cannot be read, has not 16 bits of grey, or another size.
    """
    file, row, size = Path(path), _row(case), (int(case["height"]), int(case["width"]))
    files = [file.with_name(f"{number:0{len(file.stem)}d}{file.suffix}") for number in numbers]
    volume = torch.from_numpy(np.stack([_read_slice(one, row, size) for one in files])).sub_(ZERO_UNITS)
    check_values(f"{path}{row}", volume[None])
    return volume


def _row(case: Mapping[Hashable, Any]) -> str:
    return f" ({case['row']})" if "row" in case else ""


def _read_slice(path: Path, row: str, size: tuple[int, int]) -> np.ndarray:
    """Stored values (H, W) float32 of a file."""
    name = f"{path}{row}"
    try:
        with open_picture(path) as picture:
            kind, (width, height) = f"{picture.format} of mode {picture.mode}", picture.size
            deep = picture.format == "PNG" and picture.mode.startswith("I")  # "I;16", or "I" before Pillow 11
            pixels = np.array(picture, dtype=np.float32) if deep and (height, width) == size else None
    except FileNotFoundError as error:
        raise InputError(f"{name}: expected this slice around the key slice, found no such file") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise unreadable(name, "picture", error) from error
    if not deep:
        raise InputError(f"{name}: expected a grey PNG of 16 bits (HU + {ZERO_UNITS}), found a {kind}")
    if pixels is None:
        raise InputError(f"{name}: expected {size[0]} x {size[1]} pixels (height x width), found {height} x {width}")
    return pixels
