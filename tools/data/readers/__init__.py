"""Readers of data set layouts, one module per layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tools.data.readers.base import Case, Folder, Reader, check_unique_ids, images_of
from tools.data.readers.bids import Bids
from tools.data.readers.brats import Brats
from tools.data.readers.class_folders import ClassFolders
from tools.data.readers.decathlon import Decathlon
from tools.data.readers.deeplesion import DeepLesion
from tools.data.readers.graded_images import GradedImages
from tools.data.readers.image_folder import ImageFolder
from tools.data.readers.lidc import LidcCrops
from tools.data.readers.medmnist import MedMnist
from tools.data.readers.nnssl import Nnssl
from tools.data.readers.nnunet import NnUNet
from tools.data.readers.nnunet_images import NnUNetImages
from tools.data.readers.openmind import OpenMind
from tools.data.readers.patients import find_patients, join_headers
from tools.data.readers.volume_folder import VolumeFolder
from tools.utils.errors import InputError

#: all readers; of a kind, the first that detects its layout is used
READERS: tuple[type[Reader], ...] = (
    *(Nnssl, OpenMind, NnUNet, Decathlon, Brats, Bids, VolumeFolder),
    *(NnUNetImages, ImageFolder),
    *(GradedImages, ClassFolders),
    *(LidcCrops, MedMnist),
    DeepLesion,
)


def find_reader(folder: Folder, kind: str, **options: Any) -> Reader:
    """Return the reader for the layout of a folder.

    Args:
        folder: the data set.
        kind: kind of cases, see `Reader`.
        options: further arguments of the readers of this kind.

    Raises:
        InputError: if no reader of this kind detects its layout.
    """
    found = next((one for one in READERS if one.kind == kind and one.detect(folder)), None)
    if found is None:
        raise InputError(f"dataset_dir {folder.root}: expected {describe_layouts(kind)}; found {folder.describe()}")
    return found(folder, **options)


def describe_layouts(kind: str) -> str:
    """Return the layouts of a kind for messages."""
    return "; ".join(one.layout for one in READERS if one.kind == kind)


def finalise_cases(
    folder: Folder, cases: Sequence[Case], patient_pattern: str | None = None, hints: Mapping[str, str] | None = None
) -> list[Case]:
    """Sort cases, add missing patients from their paths, and print which files are not used.

    Args:
        folder: the data set.
        cases: cases of a reader.
        patient_pattern: regular expression for the patient in a case id, see `find_patients`.
        hints: advice on unused files by reason.

    Raises:
        InputError: if two files have the same case id, or a case does not match the pattern.
    """
    check_unique_ids(cases)
    patients = {case["case"]: case["patient"] for case in cases if "patient" in case and patient_pattern is None}
    places = {one: one if patient_pattern is not None else _place(one, case) for case in cases if (one := case["case"])}
    if len(patients) < len(cases):
        found = find_patients(list(dict.fromkeys(places.values())), patient_pattern)
        patients = join_headers({one: found[place] for one, place in places.items()}, patients)
    patients = _join_links(cases, patients)
    folder.report(cases, hints or {})
    return sorted(
        ({"case": case["case"], "patient": "", **case} | {"patient": patients[case["case"]]} for case in cases),
        key=lambda case: case["case"],
    )


def _join_links(cases: Sequence[Case], patients: dict[str, str]) -> dict[str, str]:
    """Merge the patients of cases that are links to the same files."""
    first: dict[tuple[tuple[int, int], ...], Case] = {}
    same: dict[str, str] = {}

    def joined(patient: str) -> str:
        while patient in same:
            patient = same[patient]
        return patient

    for case in cases:
        if all(map(os.path.exists, images_of(case))):  # the path of a DICOM series may not exist
            other = first.setdefault(tuple((one.st_dev, one.st_ino) for one in map(os.stat, images_of(case))), case)
            pair = [joined(patients[one["case"]]) for one in (case, other)]
            if other["image"] != case["image"] and pair[0] != pair[1]:
                same[pair[0]] = pair[1]
    return {case: joined(patient) for case, patient in patients.items()}


def _place(case_id: str, case: Case) -> str:
    """Return the case id, or its folder for one of several DICOM series (``<folder>/<SeriesInstanceUID>``)."""
    folder = case_id.rpartition("/")[0]
    is_series = folder and isinstance(case["image"], str) and not os.path.exists(case["image"])
    return folder if is_series else case_id


__all__ = ["READERS", "Case", "Folder", "Reader", "describe_layouts", "finalise_cases", "find_reader"]
