"""Discovery of the cases of a data set in any layout of `tools.data.readers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.data.readers import Case, Folder, describe_layouts, finalise_cases, find_reader
from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES, first_image, images_of
from tools.data.readers.dataset_file import check_files_exist, nested_dataset_hint
from tools.data.readers.image_folder import IMAGES, SLICES
from tools.data.readers.label_maps import BY_CONTENT, DERIVATIVES, DERIVED, NAMED, OVERRIDE, REGIONS
from tools.data.readers.volumes import VOLUMES
from tools.utils.errors import InputError

NO_LABEL = "images without a label map"
NO_IMAGE = "label maps without an image"
HINTS = dict.fromkeys((NAMED, BY_CONTENT, DERIVATIVES, DERIVED, REGIONS), OVERRIDE)


def find_cases(
    dataset_dir: str | Path,
    channels: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
    include_label_maps: bool | None = False,
    max_quality_score: float | None = None,
    anonymised: bool = False,
) -> list[Case]:
    """List the volumes in a folder, without labels, sorted by id.

    The first reader of `tools.data.readers.READERS` that detects its layout lists the cases. Label maps are excluded.
    One line with the number of unused files by reason is printed.

    Args:
        dataset_dir: folder, or a single volume, which is never excluded as a label map.
        channels: file pattern by channel name, for example ``{"T1": "*_t1.nii.gz"}``, see
            `tools.data.readers.channels`. By default, the layout determines the channels of a case.
        patient_pattern: regular expression for the patient in a case id, see `tools.data.readers.patients`.
        include_label_maps: whether files that look like label maps are cases. None, for configurations without this
            key, is False without advice in messages.
        max_quality_score: largest image quality score, from 1 (best) to 5 (worst), for data lists with scores.
        anonymised: whether at least one case must have a mask of anonymised voxels.

    Returns:
        For each case ``{"case": id, "patient": id, "image": path or list of paths, one per channel}``. The id is the
        path relative to `dataset_dir` without suffix. Cases of data lists also have "session", "modality" and, if there
        is one, "anon_mask", see `tools.data.readers.data_list`.

    Raises:
        InputError: if there are no cases, a case lacks a channel, a file listed in dataset.json is missing, two files
            have the same case id, or the package `itk` is not installed for MHA files.
    """
    suffixes = () if channels else VOLUME_SUFFIXES
    folder = Folder.open(dataset_dir, "volumes", suffixes)
    include = True if _is_file(dataset_dir) else include_label_maps
    options = {"channels": channels, "patient_pattern": patient_pattern, "include_label_maps": include}
    reader = find_reader(folder, VOLUMES, **options, max_quality_score=max_quality_score)
    hints = {} if include_label_maps is None else HINTS
    cases = finalise_cases(folder, reader.cases(), None if channels else patient_pattern, hints)
    if anonymised and not any("anon_mask" in case for case in cases):
        raise InputError(
            f"exclude_anonymised: expected False, since {folder.root} names no anonymisation masks, found True; data "
            "lists of nnssl and OpenMind name them"
        )
    return cases


def find_labelled_cases(
    dataset_dir: str | Path, channels: Mapping[str, str] | None = None, patient_pattern: str | None = None
) -> list[Case]:
    """List the cases with a label map, sorted by id.

    Args:
        dataset_dir: folder.
        channels: see `find_cases`.
        patient_pattern: see `find_cases`.

    Returns:
        As `find_cases`, with the path of the label map under "label".

    Raises:
        InputError: as `find_cases`, and if no case has a label map, a case has several, or a label map listed in
            dataset.json is missing.
    """
    folder = Folder.open(dataset_dir, "labelled volumes")
    reader = find_reader(folder, VOLUMES, channels=channels, patient_pattern=patient_pattern, include_label_maps=None)
    cases, labels = reader.cases(), reader.label_files()
    found = [case | {"label": label} for case in cases if (label := _label_of(case, labels))]
    if not found:
        raise InputError(
            f"dataset_dir {folder.root}: expected {describe_layouts(VOLUMES)}, with label maps of the same name "
            f"(images/a.nii and labels/a.nii, a.nii and a_seg.nii); found {len(cases)} images and no label map of any"
            + (f"; {REGIONS} do not count: {len(folder.ignored[REGIONS])}" if folder.ignored.get(REGIONS) else "")
            + nested_dataset_hint(folder)
        )
    check_files_exist(folder, [Path(case["label"]) for case in found], "labels")
    without = [case for case in cases if not _label_of(case, labels)]
    folder.ignore(NO_LABEL, [Path(image) for case in without for image in images_of(case)])
    for reason in (NAMED, BY_CONTENT, DERIVATIVES):
        folder.ignored.setdefault(NO_IMAGE, {}).update(folder.ignored.pop(reason, {}))
    return finalise_cases(folder, found, None if channels else patient_pattern)


def _label_of(case: Case, labels: Mapping[str, str]) -> str | None:
    """Return the label map of the channels of a case, or None; raise `InputError` if there are several."""
    found = list(dict.fromkeys(labels[image] for image in images_of(case) if image in labels))
    if len(found) > 1:
        raise InputError(f"{first_image(case)}: expected one label map for all channels, found {', '.join(found)}")
    return found[0] if found else None


def channel_names(dataset_dir: str | Path, channels: Mapping[str, str] | None = None) -> list[str] | None:
    """Return the channel names of the cases of `find_cases`; None if they are unknown."""
    folder = Folder.open(dataset_dir, "volumes", () if channels else VOLUME_SUFFIXES)
    return find_reader(folder, VOLUMES, channels=channels).channel_names()


def find_images(
    dataset_dir: str | Path,
    slice_axis: int | None = None,
    channels: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
    include_label_maps: bool | None = False,
    advise_slices: bool = True,
) -> list[Case]:
    """List the cases for a 2D network: 2D images, or volumes from which slices are taken.

    Args:
        dataset_dir: folder, or a single file.
        slice_axis: None for 2D images; otherwise the cases are volumes, see `find_cases`.
        channels: channels of volumes, see `find_cases`.
        patient_pattern: see `find_cases`.
        include_label_maps: see `find_cases`.
        advise_slices: whether messages recommend the configuration key `slice_axis`.

    Returns:
        As `find_cases`. ``7_left`` and ``7_right`` have the same "patient".

    Raises:
        InputError: if there are no cases, two files have the same case id, or `channels` is set for 2D images.
    """
    if slice_axis is not None:
        return find_cases(dataset_dir, channels, patient_pattern, include_label_maps)
    folder = _open_images(dataset_dir, channels)
    include = bool(include_label_maps) or _is_file(dataset_dir)
    reader = find_reader(folder, IMAGES, include_label_maps=include, advise_slices=advise_slices)
    hints = {} if include_label_maps is None else HINTS
    return finalise_cases(folder, reader.cases(), patient_pattern, hints)


def image_channels(
    dataset_dir: str | Path, slice_axis: int | None = None, channels: Mapping[str, str] | None = None
) -> list[str] | None:
    """Return the channel names of the cases of `find_images`; None if they are unknown.

    Raises:
        InputError: if there are no readable images, or `channels` is set for 2D images.
    """
    if slice_axis is not None:
        return channel_names(dataset_dir, channels)
    return find_reader(_open_images(dataset_dir, channels), IMAGES).channel_names()


def _is_file(dataset_dir: str | Path) -> bool:
    return Path(dataset_dir).expanduser().is_file()


def _open_images(dataset_dir: str | Path, channels: Mapping[str, Any] | None) -> Folder:
    if channels:
        raise InputError(f"channels: expected None for images, found {dict(channels)}; {SLICES}")
    return Folder.open(dataset_dir, "images", IMAGE_SUFFIXES)
