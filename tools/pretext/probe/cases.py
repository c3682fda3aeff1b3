"""Labelled cases of the linear probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data.annotated import find_labelled_images
from tools.data.cases import find_labelled_cases
from tools.data.split import order_patients
from tools.utils.errors import InputError

MIN_CASES, MIN_PATIENTS = 4, 2


def find_probe_cases(
    probe_dir: str | Path, volumes: bool, channels: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """List the labelled cases of a folder.

    Args:
        probe_dir: volumes as `find_labelled_cases` takes them, or images as `find_labelled_images` takes them.
        volumes: whether volumes are wanted.
        channels: channel names and file name patterns of volumes.

    Returns:
        As the function named gives them: under "label" the path of a label map, a grade or a class.

    Raises:
        InputError: see there; fewer than `MIN_CASES` cases or `MIN_PATIENTS` patients.
    """
    try:
        cases = _find(probe_dir, volumes, channels)
    except InputError as error:
        raise InputError(str(error).replace("dataset_dir", "probe_dir", 1)) from error  # the key of this folder
    patients = {case["patient"] for case in cases}
    if len(cases) < MIN_CASES or len(patients) < MIN_PATIENTS:
        raise InputError(
            f"probe_dir {probe_dir}: expected at least {MIN_CASES} cases of {MIN_PATIENTS} patients with labels, found "
            f"{len(cases)} of {len(patients)}"
        )
    return cases


def halve_cases(
    cases: Sequence[dict[str, Any]], limit: int, stratify_by: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide cases by the hash of their patients into two halves, of which the first cases are taken.

    Args:
        cases: those of at least two patients.
        limit: cases taken of both halves together.
        stratify_by: key of the cases whose values both halves have in proportion.
    """
    patients = order_patients(cases, stratify_by=stratify_by)
    middle = (len(patients) + 1) // 2
    places = {patient: place for place, patient in enumerate(patients)}
    ordered = sorted(cases, key=lambda case: places[case["patient"]])
    first = [case for case in ordered if places[case["patient"]] < middle]
    return first[: limit // 2], ordered[len(first) :][: limit // 2]


def _find(probe_dir: str | Path, volumes: bool, channels: Mapping[str, str] | None) -> list[dict[str, Any]]:
    return find_labelled_cases(probe_dir, channels) if volumes else find_labelled_images(probe_dir)
