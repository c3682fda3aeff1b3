"""Labelled cases of the linear probe, and their split into training and test halves."""

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
        probe_dir: folder in a layout of `find_labelled_cases` (volumes) or `find_labelled_images`.
        volumes: find volumes instead of images.
        channels: channel names and file name patterns of volumes.

    Returns:
        Cases as returned by that function; "label" is the path of a label map, a grade or a class.

    Raises:
        InputError: if the folder cannot be read, or has fewer than `MIN_CASES` cases or `MIN_PATIENTS` patients.
    """
    try:
        cases = _find(probe_dir, volumes, channels)
    except InputError as error:
        raise InputError(str(error).replace("dataset_dir", "probe_dir", 1)) from error  # name the key of this folder
    patients = {case["patient"] for case in cases}
    if len(cases) < MIN_CASES or len(patients) < MIN_PATIENTS:
        raise InputError(
            f"probe_dir {probe_dir}: expected at least {MIN_CASES} cases of {MIN_PATIENTS} patients with labels, found "
            f"{len(cases)} of {len(patients)}"
        )
    return cases


def split_probe_cases(
    cases: Sequence[dict[str, Any]], max_cases: int, stratify_by: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split cases by patient into a training and a test half.

    Patients are ordered by the hash of their ids; each half is truncated to `max_cases` / 2 cases.

    Args:
        cases: cases of at least two patients.
        max_cases: maximum number of cases of both halves together.
        stratify_by: key of the cases whose values are stratified.

    Returns:
        Training cases and test cases.
    """
    patients = order_patients(cases, stratify_by=stratify_by)
    middle = (len(patients) + 1) // 2
    ranks = {patient: rank for rank, patient in enumerate(patients)}
    ordered = sorted(cases, key=lambda case: ranks[case["patient"]])
    train = [case for case in ordered if ranks[case["patient"]] < middle]
    return train[: max_cases // 2], ordered[len(train) :][: max_cases // 2]


def _find(probe_dir: str | Path, volumes: bool, channels: Mapping[str, str] | None) -> list[dict[str, Any]]:
    return find_labelled_cases(probe_dir, channels) if volumes else find_labelled_images(probe_dir)
