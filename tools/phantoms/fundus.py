"""A set of generated photographs of the retina with grades of diabetic retinopathy, laid out as EyePACS is."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np

from tools.phantoms.camera import Photo, View, expose, sample_photo, sample_view, to_jpeg
from tools.phantoms.cases import for_each_case
from tools.phantoms.fundus_painting import paint_retina
from tools.phantoms.lesions import sample_lesions
from tools.phantoms.retina import Retina, sample_person, sample_retina
from tools.phantoms.store import write_once

VERSION = 1  # of the generator: raise it when the pictures change, so that stored ones are made anew

SHARES = (0.5, 0.15, 0.2, 0.1, 0.05)  # of the levels 0 to 4 among all eyes
LIKENESS = 0.85  # correlation of severity between the two eyes of a person
FIRST = 10  # number of the first patient, as in EyePACS
SIDES = ("left", "right")


def fundus_phantoms(folder: str, num_patients: int = 40, size: int = 288, seed: int = 0) -> str:
    """Make a folder of generated fundus photographs unless it is there already.

    Every patient has two, ``10_left.jpeg`` and ``10_right.jpeg``, ``11_left.jpeg`` …, and ``trainLabels.csv`` holds
    the level of diabetic retinopathy (0 to 4) of each under ``image,level``. View, light and size differ between
    photographs, as they do between cameras.

    Args:
        folder: where the files go.
        num_patients: number of patients.
        size: width of a photograph in pixels, on average; heights are about the same.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "fundus", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}

    def write_patient(target: Path, patient: int) -> None:
        for side, level in enumerate(patient_levels(seed, patient)):
            picture = fundus_photo(seed, patient, side, level, size)
            (target / f"{FIRST + patient}_{SIDES[side]}.jpeg").write_bytes(picture)

    def write(target: Path) -> None:
        for_each_case(partial(write_patient, target), num_patients, "fundus phantoms")
        with open(target / "trainLabels.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("image", "level"))
            for patient in range(num_patients):
                for side, level in zip(SIDES, patient_levels(seed, patient), strict=True):
                    table.writerow((f"{FIRST + patient}_{side}", level))

    return write_once(folder, write, json.dumps(recipe))


def patient_levels(seed: int, patient: int) -> tuple[int, int]:
    """Return the levels of a patient's left and right eye.

    Patients of one seed are spread evenly over the range of severity, so that small sets have severe cases, too.
    """
    normal = NormalDist()
    offset = np.random.default_rng(seed).random()
    severity = normal.inv_cdf(float(np.clip((offset + 0.6180339887 * patient) % 1, 1e-6, 1 - 1e-6)))
    own = np.random.default_rng((seed, patient, len(SIDES) + 1)).standard_normal(2)
    ranks = [normal.cdf(LIKENESS**0.5 * severity + (1 - LIKENESS) ** 0.5 * float(v)) for v in own]
    first, second = (int(np.searchsorted(np.cumsum(SHARES)[:-1], rank)) for rank in ranks)
    return first, second


def sample_photograph(seed: int, patient: int, side: int, size: int) -> tuple[Retina, View, Photo]:
    """Draw the eye, the view and the light of a photograph, all but the lesions; arguments as for `fundus_photo`."""
    # Numbers from 1 on: to the generator a trailing 0 is the same as nothing.
    person = sample_person(np.random.default_rng((seed, patient)))
    rng = np.random.default_rng((seed, patient, side + 1))
    retina = sample_retina(rng, person)
    return retina, sample_view(rng, SIDES[side] == "left", retina.disc, size), sample_photo(rng)


def fundus_photo(seed: int, patient: int, side: int, level: int, size: int) -> bytes:
    """Make one photograph as a JPEG file; but for the lesions it is the same at every level.

    Args:
        seed: seed of the set.
        patient: number of the patient in the set, from 0.
        side: 0 for the left eye, 1 for the right eye.
        level: level of diabetic retinopathy, 0 to 4.
        size: width in pixels, on average.
    """
    retina, view, photo = sample_photograph(seed, patient, side, size)
    rng = np.random.default_rng((seed, patient, side + 1, level + 1))
    lesions = sample_lesions(rng, level, retina, view.look, 0.43 * view.field)
    return to_jpeg(expose(paint_retina(retina, lesions, view), view, photo), photo)
