"""Folder layouts of data sets: one module per layout, one list of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tools.data.readers.base import Case, Folder, Reader, refuse_equal_ids
from tools.data.readers.bids import Bids
from tools.data.readers.brats import Brats
from tools.data.readers.class_folders import ClassFolders
from tools.data.readers.decathlon import Decathlon
from tools.data.readers.deeplesion import DeepLesion
from tools.data.readers.graded_images import GradedImages
from tools.data.readers.image_folder import ImageFolder
from tools.data.readers.lidc import LidcCrops
from tools.data.readers.medmnist import MedMnist
from tools.data.readers.nnunet import NnUNet
from tools.data.readers.nnunet_images import NnUNetImages
from tools.data.readers.patients import find_patients
from tools.data.readers.volume_folder import VolumeFolder
from tools.utils.errors import InputError

#: all layouts; of one kind, the first that recognises a folder reads it
READERS: tuple[type[Reader], ...] = (
    *(NnUNet, Decathlon, Brats, Bids, VolumeFolder),
    *(NnUNetImages, ImageFolder),
    *(GradedImages, ClassFolders),
    *(LidcCrops, MedMnist),
    DeepLesion,
)


def find_reader(folder: Folder, kind: str, **options: Any) -> Reader:
    """Return the reader of a folder's layout.

    Args:
        folder: the data set.
        kind: what its cases are, see `Reader`.
        options: further arguments of the readers of that kind.

    Raises:
        InputError: no reader of the kind recognises the folder.
    """
    found = next((one for one in READERS if one.kind == kind and one.detect(folder)), None)
    if found is None:
        raise InputError(f"dataset_dir {folder.root}: expected {describe_layouts(kind)}; found {folder.describe()}")
    return found(folder, **options)


def describe_layouts(kind: str) -> str:
    """Return the layouts of one kind, for messages."""
    return "; ".join(one.layout for one in READERS if one.kind == kind)


def complete_cases(
    folder: Folder, cases: Sequence[Case], patient_pattern: str | None = None, hints: Mapping[str, str] | None = None
) -> list[Case]:
    """Sort cases, add patients from their paths where a reader did not, and print which files are not used.

    Args:
        folder: the data set.
        cases: as a reader lists them.
        patient_pattern: regular expression that finds the patient in a case id, see `find_patients`.
        hints: what to do about files that are not used, by reason.

    Raises:
        InputError: two files with one case id, or cases in which the pattern is not found.
    """
    refuse_equal_ids(cases)
    ids = {case["case"]: case for case in cases if patient_pattern is not None or "patient" not in case}
    places = {one: one if patient_pattern is not None else _place(one, case) for one, case in ids.items()}
    found = find_patients(list(dict.fromkeys(places.values())), patient_pattern)
    patients = {one: found[place] for one, place in places.items()}
    complete = [{"case": case["case"], "patient": "", **case} for case in cases]
    folder.report(cases, hints or {})
    return sorted(
        (case | {"patient": patients.get(case["case"], case["patient"])} for case in complete),
        key=lambda case: case["case"],
    )


def _place(case_id: str, case: Case) -> str:
    """Case id, or its folder for one of several DICOM series in a folder, whose path ends in a SeriesInstanceUID."""
    folder = case_id.rpartition("/")[0]
    is_series = folder and isinstance(case["image"], str) and not os.path.exists(case["image"])
    return folder if is_series else case_id


__all__ = ["READERS", "Case", "Folder", "Reader", "complete_cases", "describe_layouts", "find_reader"]
