"""Stacks of equidistant slices around a key slice of a CT: loading and interpolation."""

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

from tools.data.cache.samples import FACTS
from tools.data.formats.images import open_image
from tools.detection.stack_resizing import WINDOW, ResizeStackd
from tools.transforms.checks import check_values
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.window import CheckWindowd
from tools.utils.errors import InputError
from tools.utils.inputs import unreadable_error

KEY = "image"
KEPT = (KEY, "boxes", "types", "noisy", "scale", "height", "width", "case", "patient", "spacing", *FACTS)
ZERO_UNITS = 32768  # stored value of 0 HU in DeepLesion's images
DIGITS = 6  # slice positions are rounded to this number of decimals
#: orientation of axial CT, as in DeepLesion: columns to the patient's left, rows to posterior, slices to inferior;
#: volumes are reoriented, so that stacks have the same order in training and inference
AXCODES = "LPI"


def build_stack_preprocessing(
    num_slices: int, slice_spacing: float, image_size: int, inference: bool = False
) -> Compose:
    """Build the deterministic transforms of a key slice: load the stack, normalise, resize and pad.

    Args:
        num_slices: number of slices of a stack.
        slice_spacing: distance of the slices of a stack in mm.
        image_size: input size of the network in pixels.
        inference: whether to keep the metadata and skip the hashes.

    Raises:
        InputError: if an argument is out of range.
    """
    hashes = [] if inference else [HashVoxelsd(KEY)]
    last = [EnsureTyped(KEY, track_meta=inference), SelectItemsd(KEPT, allow_missing_keys=True)]
    resize = [CheckWindowd(KEY, WINDOW, inference, adjustable=False), ResizeStackd(KEY, image_size)]
    return Compose([LoadSliceStackd(KEY, num_slices, slice_spacing), *hashes, *resize, *last])


def slice_affine(spacing: float, interval: float, start: float = 0.0) -> torch.Tensor:
    """Return the affine (4, 4) float64 from (column, row, slice) to RAS mm of slices in the orientation `AXCODES`.

    Args:
        spacing: pixel size in mm.
        interval: distance of the slices in mm.
        start: distance from the origin to the first slice in mm, in the direction of the slices.
    """
    signs = [1.0 if code in "RAS" else -1.0 for code in AXCODES]
    steps = [sign * edge for sign, edge in zip(signs, (spacing, spacing, interval), strict=True)]
    affine = torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))
    affine[2, 3] = signs[2] * start
    return affine


class StackPositions(NamedTuple):
    """Interpolation positions of the slices of a stack: two slices of the CT, and the upper weight."""

    lower: list[int]
    upper: list[int]
    weight: list[float]


def stack_positions(
    key: int, first: int, last: int, interval: float, num_slices: int = 9, spacing: float = 2.5
) -> StackPositions:
    """Compute the positions of the slices of a stack around a key slice.

    Slice p, relative to the key slice, is p · spacing / interval slices of the CT away. Positions outside the CT are
    clamped to its ends. The key slice has index ``(num_slices - 1) // 2``. CT and stack are ordered from superior to
    inferior (`AXCODES`).

    Args:
        key: number of the key slice.
        first: number of the first slice of the CT.
        last: number of the last slice of the CT.
        interval: distance of the slices of the CT in mm.
        num_slices: number of slices of the stack.
        spacing: distance of the slices of the stack in mm.

    Raises:
        InputError: if a distance is not positive, `num_slices` is less than 1, or the key slice is outside the CT.
    """
    _check_stack(num_slices, spacing)
    if not (math.isfinite(interval) and interval > 0):
        raise InputError(f"interval: expected a slice distance in mm above 0, found {interval}")
    if not first <= key <= last:
        raise InputError(f"key slice: expected a number from {first} to {last}, found {key}")
    before = (num_slices - 1) // 2
    positions = StackPositions([], [], [])
    for p in range(-before, num_slices - before):
        offset = round(min(max(p * spacing / interval, first - key), last - key), DIGITS)
        below = math.floor(offset)
        weight = float(offset - below)
        positions.lower.append(key + below)
        positions.upper.append(key + below + (weight > 0))
        positions.weight.append(weight)
    return positions


def _check_stack(num_slices: int, spacing: float) -> None:
    if not isinstance(num_slices, int) or isinstance(num_slices, bool) or num_slices < 1:
        raise InputError(f"num_slices: expected an integer of at least 1, found {num_slices!r}")
    if not (math.isfinite(spacing) and spacing > 0):
        raise InputError(f"slice_spacing: expected a slice distance in mm above 0, found {spacing}")


def extract_stacks(volume: torch.Tensor, positions: Sequence[StackPositions]) -> torch.Tensor:
    """Extract stacks from a volume by linear interpolation between slices.

    Args:
        volume: floating-point volume (Z, H, W).
        positions: positions of K stacks with equal numbers of slices; the first slice of the volume is 0.

    Returns:
        Stacks (K, slices, H, W).
    """
    lower, upper = torch.tensor([(p.lower, p.upper) for p in positions], device=volume.device).unbind(1)
    weight = torch.tensor([p.weight for p in positions], dtype=volume.dtype, device=volume.device)
    return volume[lower].lerp_(volume[upper], weight[..., None, None])


class LoadSliceStackd(MapTransform):
    """Load stacks of slices in HU around a key slice from 16-bit PNG files.

    A sample has the numbers of its slices ("first", "last"), "interval", "spacing", "height" and "width", see
    `tools.data.find_lesions`. The other slices are in the same folder, named ``<number>.png`` with the same number of
    digits. Only files that the stack needs are loaded. Values are interpolated before any windowing, see
    `stack_positions`.

    Args:
        keys: keys whose value is the path of a key slice.
        num_slices: number of slices of a stack.
        spacing: distance of the slices of a stack in mm.

    Returns:
        The sample with `MetaTensor` (1, slices, H, W) float32 in HU under the keys, from superior to inferior. The
        affine maps (slice, row, column) to RAS mm; the origin is the first pixel of the first slice of the CT. "boxes"
        (N, 4) float32, "types" (N,) int64 and "noisy" (N,) bool become tensors if they exist.

    Raises:
        InputError: if `num_slices` or `spacing` is out of range, or if a file is missing, cannot be read, is not 16-bit
            greyscale, or has another size than "height" and "width".
    """

    def __init__(self, keys: KeysCollection = "image", num_slices: int = 9, spacing: float = 2.5) -> None:
        super().__init__(keys)
        _check_stack(num_slices, spacing)
        self.num_slices = num_slices
        self.spacing = spacing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the stack of one sample."""
        sample = dict(data)
        for key in self.keys:
            path = str(sample[key])
            stack = _read_stack(path, sample, self.num_slices, self.spacing)
            before = (int(Path(path).stem) - sample["first"]) * sample["interval"]
            start = before - (self.num_slices - 1) // 2 * self.spacing
            affine = slice_affine(sample["spacing"], self.spacing, start)[:, [2, 1, 0, 3]]
            sample[key] = MetaTensor(stack, meta={"filename_or_obj": path, "affine": affine})
        for name, kind in (("boxes", torch.float32), ("types", torch.int64), ("noisy", torch.bool)):
            if name in sample:
                values = torch.as_tensor(sample[name], dtype=kind)
                sample[name] = values.reshape(-1, 4) if name == "boxes" else values
        return sample


def _read_stack(path: str, case: Mapping[Hashable, Any], num_slices: int, spacing: float) -> torch.Tensor:
    """Load the stack (1, slices, H, W) in HU around a file."""
    positions = stack_around(path, case, num_slices, spacing)
    numbers = sorted({*positions.lower, *positions.upper})
    index = {number: i for i, number in enumerate(numbers)}
    lower, upper = ([index[number] for number in ends] for ends in positions[:2])
    return extract_stacks(read_slices(path, case, numbers), [StackPositions(lower, upper, positions.weight)])


def stack_around(path: str, case: Mapping[Hashable, Any], num_slices: int, spacing: float) -> StackPositions:
    """Compute the positions of a stack around the key slice of a case, see `stack_positions`.

    Raises:
        InputError: if the file name is not a number, or see `stack_positions`.
    """
    file = Path(path)
    if not re.fullmatch(r"[0-9]{1,9}", file.stem):
        raise InputError(f"{path}{_row(case)}: expected a slice number as file name, such as 109.png")
    try:
        return stack_positions(int(file.stem), case["first"], case["last"], case["interval"], num_slices, spacing)
    except InputError as error:
        raise InputError(f"{path}{_row(case)}: {error}") from error


def read_slices(path: str, case: Mapping[Hashable, Any], numbers: Sequence[int]) -> torch.Tensor:
    """Load slices of a case: (Z, H, W) float32 in HU.

    Args:
        path: path of the key slice; the other slices are in the same folder.
        case: case with "height", "width" and, for messages, "row".
        numbers: numbers of the slices.

    Raises:
        InputError: if a file is missing, cannot be read, is not 16-bit greyscale, or has another size.
    """
    file, row, size = Path(path), _row(case), (int(case["height"]), int(case["width"]))
    files = [file.with_name(f"{number:0{len(file.stem)}d}{file.suffix}") for number in numbers]
    volume = torch.from_numpy(np.stack([_read_slice(one, row, size) for one in files])).sub_(ZERO_UNITS)
    check_values(f"{path}{row}", volume[None])
    return volume


def _row(case: Mapping[Hashable, Any]) -> str:
    return f" ({case['row']})" if "row" in case else ""


def _read_slice(path: Path, row: str, size: tuple[int, int]) -> np.ndarray:
    """Load the stored values (H, W) float32 of a file."""
    name = f"{path}{row}"
    try:
        with open_image(path) as image:
            kind, (width, height) = f"{image.format} of mode {image.mode}", image.size
            deep = image.format == "PNG" and image.mode.startswith("I")  # "I;16", or "I" before Pillow 11
            pixels = np.array(image, dtype=np.float32) if deep and (height, width) == size else None
    except FileNotFoundError as error:
        raise InputError(f"{name}: expected a slice around the key slice, found no such file") from error
    except InputError:
        raise
    except Exception as error:  # decoders raise various errors for damaged files
        raise unreadable_error(name, "image", error) from error
    if not deep:
        raise InputError(f"{name}: expected a 16-bit greyscale PNG (HU + {ZERO_UNITS}), found a {kind}")
    if pixels is None:
        raise InputError(f"{name}: expected {size[0]} x {size[1]} pixels (height x width), found {height} x {width}")
    return pixels
