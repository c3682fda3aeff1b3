"""A set of generated CT slices with lesions and their neighbours, in the layout of DeepLesion."""

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from tools.phantoms.canvas import Canvas, blur, noise, smooth_field
from tools.phantoms.ct_lesions import Blob, paint_blob, place_blobs
from tools.phantoms.store import write_cases, write_table
from tools.phantoms.trunk import HALF, View, paint_trunk, sample_view
from tools.utils.errors import InputError

VERSION = 4  # of the generator: a change of the images needs a new number, so that stored sets are written again
SMALLEST = 64  # edge of a slice in pixels, so that lesions of all types have room

#: columns of ``DL_info.csv`` as published
COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy",
    "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip
SHARES = (0.08, 0.16, 0.17, 0.16, 0.18, 0.08, 0.09, 0.08)  # of the coarse types 1 to 8
AGAIN = 4  # every how many patients one has a second key slice
HELD_OUT = 0.15  # fraction of the patients for validation, and for the test
UNTYPED, NOISY = 0.5, 0.05  # fractions of training lesions without a type, and of lesions with large errors
ZERO = 32768  # stored value of 0 HU
MARGIN = 5  # pixels between the lesion's diameters and its box
INTERVALS = (5.0, 5.0, 1.0, 1.0, 2.0, 2.5)  # between slices in mm
REACH = 12.0  # mm of slices on either side of the key slice
LEVELS = {"chest": 0.3, "abdomen": 0.55, "pelvis": 0.8}  # how far down the trunk, 0 to 1


class KeySliceParams(NamedTuple):
    """A key slice of a set: patient, study and series, from 1, type of its first lesion, and split (1, 2 or 3)."""

    patient: int
    study: int
    series: int
    kind: int
    split: int

    @property
    def name(self) -> str:
        """Name of the folder with the slices."""
        return f"{self.patient:06d}_{self.study:02d}_{self.series:02d}"


class KeySlice(NamedTuple):
    """Key slice and its neighbours: int16 HU (S, H, W) from head to feet, slice numbers, mm, bodies.

    `tubes` resemble `lesions` in the key slice, but continue through the other slices.
    """

    pixels: np.ndarray
    number: int
    first: int
    spacing: float
    interval: float
    view: View
    lesions: list[Blob]
    tubes: list[Blob]


def deeplesion_phantoms(folder: str, num_patients: int = 120, size: int = 128, seed: int = 0) -> str:
    """Write a folder of generated CT slices with lesions in the layout of DeepLesion unless it exists.

    ``DL_info.csv`` has one row per lesion. ``Images_png/<patient_study_series>/<slice>.png`` are the key slice of the
    lesion and its neighbours within 12 mm, as unsigned 16-bit Hounsfield units + 32768. Slices are numbered from
    head to feet, rows run to the back and columns to the patient's left. Lesions of eight coarse types are in bone,
    belly, mediastinum, liver, lung, kidney, muscle and pelvis. They end within the slices; tubes that look the same in
    the key slice continue.

    Args:
        folder: the data folder.
        num_patients: number of patients, of 1.25 key slices each.
        size: edge of the slices in pixels of about 1 mm.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `size` is too small, or `folder` has other content or cannot be written.
    """
    if size < SMALLEST:
        raise InputError(f"size: expected at least {SMALLEST} pixels, found {size}")
    recipe = {"phantoms": "deeplesion", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}
    places = list_key_slices(seed, num_patients)

    def write_case(target: Path, number: int) -> list[list[object]]:
        key_slice = make_key_slice(seed, places[number], size)
        series = target / "Images_png" / places[number].name
        series.mkdir()
        for slice_number, pixels in enumerate(key_slice.pixels, key_slice.first):
            image = Image.fromarray((pixels.astype(np.int32) + ZERO).astype(np.uint16))
            image.save(series / f"{slice_number:03d}.png", compress_level=1)
        return list_rows(seed, places[number], key_slice)

    def finish(target: Path, rows: list) -> None:
        write_table(target / "DL_info.csv", [COLUMNS, *chain.from_iterable(rows)])

    return write_cases(folder, recipe, write_case, len(places), finish, ("Images_png",))


def list_key_slices(seed: int, num_patients: int) -> list[KeySliceParams]:
    """List the key slices of a set; types are spread evenly, and with 6 or more patients no split is empty."""
    rng = np.random.default_rng((seed, 0))
    held_out = max(1, round(HELD_OUT * num_patients))
    splits, order = np.ones(num_patients, dtype=int), rng.permutation(num_patients)
    splits[order[:held_out]], splits[order[held_out : 2 * held_out]] = 2, 3
    offset = rng.random()
    found: list[KeySliceParams] = []
    for patient in range(1, num_patients + 1):
        again = [(2, 1) if patient % (2 * AGAIN) else (1, 2)]  # another study, or another series of the same
        for study, series in [(1, 1)] + again * (patient % AGAIN == 0):
            rank = (offset + 0.6180339887 * len(found)) % 1
            kind = 1 + int(np.searchsorted(np.cumsum(SHARES)[:-1], rank))
            found.append(KeySliceParams(patient, study, series, kind, int(splits[patient - 1])))
    return found


def make_key_slice(seed: int, place: KeySliceParams, size: int) -> KeySlice:
    """Draw a key slice of `size` pixels along an edge, with its neighbours."""
    rng = np.random.default_rng((seed, place.patient, place.study, place.series, 1))
    interval, spacing = float(rng.choice(INTERVALS)), round(float(rng.uniform(0.8, 1.2)), 6)
    before, after = [int(REACH / interval)] * 2
    if rng.random() < 0.1:  # the scan begins here
        before //= 2
    planes = 3 if interval > 3 else 1  # that a slice is averaged from
    offsets = (torch.arange(planes, dtype=torch.float32) - (planes - 1) / 2) / planes
    z = -(torch.arange(-before, after + 1, dtype=torch.float32)[:, None] + offsets).flatten() * interval
    line = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * spacing
    lesions: list[Blob] = []
    while not lesions:  # a part of the trunk with room for the lesion: nearly always the first
        view = sample_view(rng, place.kind)
        volume, codes = paint_trunk(np.random.default_rng((seed, place.patient)), view, (z, line, line))
        lesions, tubes = place_blobs(rng, view, codes[before * planes + planes // 2].numpy(), line.numpy())
    canvas = Canvas((z[:, None, None], line[:, None][None], line[None, None]), volume, 1.0)
    for blob in [*tubes, *lesions]:
        paint_blob(canvas, blob)
    volume += 6.0 * smooth_field(rng, (2, 12, 12), volume.shape) * (volume > -300)
    sharp, spread = rng.uniform((0.5, 7.0), (0.85, 13.0))
    slices = blur(volume.unflatten(0, (-1, planes)).mean(1), (0.0, sharp / spacing, sharp / spacing))
    slices += spread * (1.5 if interval < 2 else 1.0) * noise(rng, slices.shape, (0.0, 0.6, 0.6))
    pixels = slices.round().clamp(-1024, 3071).to(torch.int16).numpy()
    number = int(rng.integers(20, 300))
    return KeySlice(pixels, number, number - before, spacing, interval, view, lesions, tubes)


def list_rows(seed: int, place: KeySliceParams, key_slice: KeySlice) -> list[list[object]]:
    """Rows of ``DL_info.csv`` of a key slice, one per lesion, with measurement errors, a few of them large."""
    person = np.random.default_rng((seed, place.patient, 0))
    gender, age = str(person.choice(["F", "M"])), int(person.integers(18, 88))
    age = age if person.random() < 0.9 else ""
    rng = np.random.default_rng((seed, place.patient, place.study, place.series))
    spacing, interval, view = key_slice.spacing, key_slice.interval, key_slice.view
    height, width = key_slice.pixels.shape[1:]
    rows = []
    for lesion in key_slice.lesions:
        untyped, noisy = rng.random() < UNTYPED and place.split == 1, rng.random() < NOISY
        ends = lesion.diameters()[:, ::-1] / spacing + (width + 1) / 2 + rng.normal(0, 0.25, (4, 2)).clip(-1, 1)
        if noisy:
            ends = ends.mean(0) + 0.6 * (ends - ends.mean(0)) + rng.uniform(-0.3, 0.3, 2) * lesion.radius / spacing
        ends = np.array([float(f"{value:.6g}") for value in ends.flatten()]).reshape(4, 2)
        box = [*(ends.min(0) - MARGIN), *(ends.max(0) + MARGIN)]
        diameters = [np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[2] - ends[3])]
        down, across = (lesion.centre[1:] + view.middle[1:]) / (2 * np.array(HALF)) + 0.5
        location = (across, down, LEVELS[view.region] + rng.uniform(-0.1, 0.1))
        rows.append(
            [
                f"{place.name}_{key_slice.number:03d}.png",
                *(place.patient, place.study, place.series, key_slice.number),
                *(_vector(ends.flatten()), _vector(box), _vector(diameters), _vector(location)),
                *(-1 if untyped else lesion.kind, int(noisy)),
                _vector([key_slice.first, key_slice.first + len(key_slice.pixels) - 1]),
                *(_vector([spacing, spacing, interval]), _vector([width, height])),
                "-1500, 500" if lesion.kind == 5 else "-175, 275",
                *(gender, age, place.split),
            ]
        )
    return rows


def _vector(values: list[float] | np.ndarray | tuple[float, ...]) -> str:
    """Format numbers as in the published table: six digits, separated by a comma and a space."""
    return ", ".join(f"{value:.6g}" for value in values)
