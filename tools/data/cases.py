"""Cases of a data set in any layout that `tools.data.readers` lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.data.readers import Case, Folder, complete_cases, describe_layouts, find_reader
from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES, first_image, images_of
from tools.data.readers.dataset_file import describe_deeper, refuse_missing
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
) -> list[Case]:
    """List the volumes under a folder, without labels, sorted by id.

    The first reader in `tools.data.readers.READERS` that recognises the folder finds them. Label maps are no cases.
    One line counts the files that are not used, by reason.

    Args:
        dataset_dir: the folder, or a single volume, which is a scan whatever it holds.
        channels: pattern of the path by channel name, e.g. ``{"T1": "*_t1.nii.gz"}``, to join the files of a case, see
            `tools.data.readers.channels`. Without it the layout says what a case is, and every image is one if it has
            none.
        patient_pattern: regular expression that finds the patient in a case id, see `tools.data.readers.patients`.
        include_label_maps: use files that look like label maps as scans. None where a configuration has no such key:
            as False, but messages do not advise it.

    Returns:
        For each case ``{"case": id, "patient": id, "image": path or list of paths, one per channel}``. The id is the
        path relative to `dataset_dir` without its suffix.

    Raises:
        InputError: nothing found, a case without one of its channels, files a dataset.json names are missing, two
            files with one case id, or MHA files without the `itk` package.
    """
    suffixes = () if channels else VOLUME_SUFFIXES
    folder = Folder.open(dataset_dir, "volumes", suffixes)
    include = True if _is_file(dataset_dir) else include_label_maps
    options = {"channels": channels, "patient_pattern": patient_pattern, "include_label_maps": include}
    reader = find_reader(folder, VOLUMES, **options)
    hints = {} if include_label_maps is None else HINTS
    return complete_cases(folder, reader.cases(), None if channels else patient_pattern, hints)


def find_labelled_cases(
    dataset_dir: str | Path, channels: Mapping[str, str] | None = None, patient_pattern: str | None = None
) -> list[Case]:
    """List the cases of a folder that have a label map, sorted by id.

    Args:
        dataset_dir: the folder.
        channels: see `find_cases`.
        patient_pattern: see `find_cases`.

    Returns:
        As `find_cases`, with the path of the label map under "label".

    Raises:
        InputError: as `find_cases`; no case has a label map, one has several, or a label map that a dataset.json names
            is missing.
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
            + describe_deeper(folder)
        )
    refuse_missing(folder, [Path(case["label"]) for case in found], "labels")
    without = [case for case in cases if not _label_of(case, labels)]
    folder.ignore(NO_LABEL, [Path(image) for case in without for image in images_of(case)])
    for reason in (NAMED, BY_CONTENT, DERIVATIVES):
        folder.ignored.setdefault(NO_IMAGE, {}).update(folder.ignored.pop(reason, {}))
    return complete_cases(folder, found, None if channels else patient_pattern)


def _label_of(case: Case, labels: Mapping[str, str]) -> str | None:
    """Label map of the first channel that has one; raise an `InputError` if another channel has another."""
    found = list(dict.fromkeys(labels[image] for image in images_of(case) if image in labels))
    if len(found) > 1:
        raise InputError(f"{first_image(case)}: expected one label map of all channels, found {', '.join(found)}")
    return found[0] if found else None


def channel_names(dataset_dir: str | Path, channels: Mapping[str, str] | None = None) -> list[str] | None:
    """Return the names of the channels of the cases that `find_cases` lists, None if the files do not say."""
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
    """List the cases of a 2D network: images, or volumes that are cut into slices.

    Args:
        dataset_dir: the folder, or a single file.
        slice_axis: None for 2D images; else the cases are volumes, see `find_cases`.
        channels: of volumes, see `find_cases`.
        patient_pattern: see `find_cases`.
        include_label_maps: see `find_cases`.
        advise_slices: whether the configuration has the key `slice_axis`, so that messages may advise it.

    Returns:
        As `find_cases`. Both eyes of a patient (``7_left``, ``7_right``) have one "patient".

    Raises:
        InputError: nothing is found, two files with one case id, or `channels` are given for images.
    """
    if slice_axis is not None:
        return find_cases(dataset_dir, channels, patient_pattern, include_label_maps)
    folder = _open_images(dataset_dir, channels)
    include = bool(include_label_maps) or _is_file(dataset_dir)
    reader = find_reader(folder, IMAGES, include_label_maps=include, advise_slices=advise_slices)
    hints = {} if include_label_maps is None else HINTS
    return complete_cases(folder, reader.cases(), patient_pattern, hints)


def image_channels(
    dataset_dir: str | Path, slice_axis: int | None = None, channels: Mapping[str, str] | None = None
) -> list[str] | None:
    """Return the names of the channels of the cases that `find_images` lists, None if the files do not say.

    Raises:
        InputError: no readable images, or `channels` are given for images.
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
