"""A set of generated CT slices with lesions and their neighbours, laid out as DeepLesion is published."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tools.phantoms.cases import for_each_case
from tools.phantoms.deeplesion_slice import KeySlice, Place, make_key_slice
from tools.phantoms.store import write_once
from tools.utils.errors import InputError

VERSION = 2  # of the generator: raise it when the pictures change, so that stored ones are made anew
SMALLEST = 64  # edge of a picture in pixels, that lesions of all kinds have room in

#: columns of ``DL_info.csv`` as published
COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy",
    "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip
SHARES = (0.08, 0.16, 0.17, 0.16, 0.18, 0.08, 0.09, 0.08)  # of the coarse types 1 to 8
AGAIN = 4  # every how many patients one has a second key slice
HELD_OUT = 0.15  # share of the patients for validation, and for the test
UNTYPED = 0.5  # share of the training lesions without a type
ZERO = 32768  # stored value of 0 HU
MARGIN = 5  # pixels between the lesion's diameters and its box


def deeplesion_phantoms(folder: str, num_patients: int = 120, size: int = 128, seed: int = 0) -> str:
    """Make a folder of generated CT slices with lesions in the layout of DeepLesion unless it is there already.

    ``DL_info.csv`` lists one lesion a row, ``Images_png/<patient_study_series>/<slice>.png`` holds the key slice it was
    measured in and the neighbours within 12 mm, unsigned 16 bit, Hounsfield units + 32768. Slices are numbered from
    head to feet, rows run to the back and columns to the patient's left. Lesions of eight coarse
    types lie in bone, belly, mediastinum, liver, lung, kidney, muscle and pelvis. They end within the slices about
    them; tubes that look the same in the key slice run on.

    Args:
        folder: where the files go.
        num_patients: number of patients, of 1.25 key slices each.
        size: edge of the slices in pixels of about 1 mm.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `size` is too small, or `folder` holds other data or cannot be written.
    """
    if size < SMALLEST:
        raise InputError(f"size: expected at least {SMALLEST} pixels, found {size}")
    recipe = {"phantoms": "deeplesion", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}
    places = list_places(seed, num_patients)
    rows: dict[int, list[list[object]]] = {}

    def write_case(target: Path, number: int) -> None:
        place = places[number]
        key_slice = make_key_slice(seed, place, size)
        series = target / "Images_png" / place.name
        series.mkdir()
        for slice_number, pixels in enumerate(key_slice.pixels, key_slice.first):
            picture = Image.fromarray((pixels.astype(np.int32) + ZERO).astype(np.uint16))
            picture.save(series / f"{slice_number:03d}.png", compress_level=1)
        rows[number] = list_rows(seed, place, key_slice)

    def write(target: Path) -> None:
        (target / "Images_png").mkdir()
        for_each_case(partial(write_case, target), len(places), "DeepLesion phantoms")
        with open(target / "DL_info.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(row for number in range(len(places)) for row in rows[number])

    return write_once(folder, write, json.dumps(recipe))


def list_places(seed: int, num_patients: int) -> list[Place]:
    """List the key slices of a set; types are spread evenly, and from 6 patients on all parts have some."""
    rng = np.random.default_rng((seed, 0))
    held_out = max(1, round(HELD_OUT * num_patients))
    parts = np.ones(num_patients, dtype=int)
    order = rng.permutation(num_patients)
    parts[order[:held_out]], parts[order[held_out : 2 * held_out]] = 2, 3
    offset = rng.random()
    found: list[Place] = []
    for patient in range(1, num_patients + 1):
        exams = [(1, 1)]
        if patient % AGAIN == 0:  # seen again in another study, or in another series of the same
            exams.append((2, 1) if patient % (2 * AGAIN) else (1, 2))
        for study, series in exams:
            rank = (offset + 0.6180339887 * len(found)) % 1
            kind = 1 + int(np.searchsorted(np.cumsum(SHARES)[: len(SHARES) - 1], rank))
            found.append(Place(patient, study, series, kind, int(parts[patient - 1])))
    return found


def list_rows(seed: int, place: Place, key_slice: KeySlice) -> list[list[object]]:
    """Rows of ``DL_info.csv`` of one key slice, one a lesion."""
    person = np.random.default_rng((seed, place.patient, 0))
    gender, age = str(person.choice(["F", "M"])), int(person.integers(18, 88))
    known = person.random() < 0.9
    rng = np.random.default_rng((seed, place.patient, place.study, place.series))
    spacing, interval = key_slice.spacing, key_slice.interval
    last = key_slice.first + len(key_slice.pixels) - 1
    height, width = key_slice.pixels.shape[1:]
    rows = []
    for finding in key_slice.findings:
        untyped = rng.random() < UNTYPED and place.part == 1
        ends = np.array([float(f"{value:.6g}") for value in finding.ends.flatten()]).reshape(4, 2)
        box = [*(ends.min(0) - MARGIN), *(ends.max(0) + MARGIN)]
        diameters = [np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[2] - ends[3])]
        rows.append(
            [
                f"{place.name}_{key_slice.number:03d}.png",
                *(place.patient, place.study, place.series, key_slice.number),
                *(_vector(ends.flatten()), _vector(box), _vector(diameters), _vector(finding.location)),
                *(-1 if untyped else finding.kind, int(finding.noisy)),
                _vector([key_slice.first, last]),
                *(_vector([spacing, spacing, interval]), _vector([width, height])),
                "-1500, 500" if finding.kind == 5 else "-175, 275",
                *(gender, age if known else "", place.part),
            ]
        )
    return rows


def _vector(values: list[float] | np.ndarray) -> str:
    """Numbers as the published table writes them: six digits, comma and space between."""
    return ", ".join(f"{value:.6g}" for value in values)
