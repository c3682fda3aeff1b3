"""Finding the cases of a data set: any folder tree of volumes, or a Medical Segmentation Decathlon folder."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.data import folders
from tools.data.brats import CHANNELS, brats_cases, find_brats
from tools.data.folders import VOLUME_SUFFIXES, case_id
from tools.data.formats.dicom import find_series
from tools.data.msd import msd_images, msd_modalities, read_msd
from tools.utils.errors import InputError


def find_cases(
    dataset_dir: str | Path, channels: Mapping[str, str] | None = None, advise_channels: bool = True
) -> list[dict[str, Any]]:
    """List the cases under a folder, sorted by id.

    Volumes are NIfTI, NRRD, MHA/MHD files and DICOM series. In a folder with a Decathlon ``dataset.json`` the images
    are those it names, training and test alike; labels are never read. Hidden files, the Decathlon's label folders and,
    without `channels`, files named like masks (``…_label``, ``…_seg``, ``…_mask``) are left out. Slices of a DICOM
    series share a folder; where a folder holds several series, each is written as ``<folder>/<SeriesInstanceUID>``.
    BraTS folders give scans of four channels in the Decathlon's order, see `tools.data.brats`.

    Args:
        dataset_dir: the folder, or a single volume.
        channels: channel name to a pattern (``*`` and ``?``) of the file name, e.g. ``{"T1": "*_t1.nii.gz"}``. Files of
            one folder whose names agree in what the wildcards match make a case, and so do the files of a folder that
            holds each channel exactly once. Files matching no pattern are left out. Without it every image is a case.
        advise_channels: whether a configuration has the key, so that messages may advise it.

    Returns:
        For each case ``{"case": id, "patient": id, "image": path or list of paths, one per channel}``. The id is the
        path relative to `dataset_dir` without its suffix. The patient is the ``sub-…`` part of a BIDS path, else the
        PatientID of a DICOM series (unless all series carry the same one), else the case id.

    Raises:
        InputError: nothing found, a case without one of its channels, files a dataset.json names are missing, two
            files with one case id, or MHA files without the `itk` package.
    """
    if channels is None and (lone := folders.lone_file(dataset_dir, VOLUME_SUFFIXES)) is not None:
        _require_itk([lone])
        return [lone]
    root = folders.existing_folder(dataset_dir, "volumes")
    msd = None if channels else read_msd(root)
    tree = _Tree.scan(root, report=msd is None)
    brats = None if channels or msd else find_brats(root, tree.patients)
    if brats is not None:
        return brats_cases(root, brats, tree.patients)
    if msd is None:
        patients = tree.patients if channels else _without_masks(root, tree.patients, advise_channels)
        grouped = _by_channel(root, sorted(patients), channels) if channels else {case_id(p, root): p for p in patients}
        if not channels:
            folders.refuse_equal_ids(root, patients)
    else:
        patients = dict.fromkeys(msd_images(root, msd, set(tree.patients)), "")
        grouped = {case_id(path, root): path for path in patients}
    cases = [
        folders.make_case(case, image, patients[image[0] if isinstance(image, list) else image])
        for case, image in sorted(grouped.items())
    ]
    if not cases:
        raise InputError(f"dataset_dir {root}: expected images, found only files named like masks")
    _require_itk(cases)
    return cases


def channel_names(dataset_dir: str | Path, channels: Mapping[str, str] | None = None) -> list[str] | None:
    """Names of the channels `find_cases` gives: of patterns, dataset.json or BraTS, or None when nothing tells."""
    if channels:
        return list(channels)
    root = Path(dataset_dir).expanduser()
    if (msd := read_msd(root)) is not None:
        return msd_modalities(msd)
    files = (file for _, files in folders.walk(root, []) for file in files)
    return None if find_brats(root, files) is None else list(CHANNELS)


@dataclass
class _Tree:
    """What lies under a folder: the images with their DICOM PatientID (or an empty text), and what is none."""

    patients: dict[Path, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    outputs: int = 0
    label_folders: list[str] = field(default_factory=list)

    @classmethod
    def scan(cls, root: Path, report: bool) -> _Tree:
        tree, found = cls(), []
        for folder, files in folders.walk(root, tree.label_folders):
            volumes = [file for file in files if file.name.lower().endswith(VOLUME_SUFFIXES)]
            others = [file for file in files if file not in set(volumes)]
            series, skipped = find_series(folder, others)
            found += volumes
            tree.patients.update({one.path: one.patient for one in series})
            tree.others.update(file.suffix or "no suffix" for file in others)
            tree.skipped += skipped
        kept = folders.without_outputs(root, found)
        tree.outputs = len(found) - len(kept)
        tree.patients = dict.fromkeys(kept, "") | tree.patients
        if len(set(tree.patients.values()) - {""}) == 1:  # a laboratory's or an anonymiser's name tells nothing
            tree.patients = dict.fromkeys(tree.patients, "")
        if report:
            tree.report(root)
        return tree

    def report(self, root: Path) -> None:
        """Print what is left out; refuse a folder without any image."""
        folders.report_label_folders(root, self.label_folders)
        if self.skipped:
            print(f"note: {len(self.skipped)} DICOM series left out: {'; '.join(self.skipped[:3])}")
        if not self.patients:
            found = folders.say_suffixes(self.others)
            found += f"; {self.outputs} files that earlier runs wrote" if self.outputs else ""
            found += f"; DICOM series left out: {'; '.join(self.skipped[:3])}" if self.skipped else ""
            raise InputError(
                f"dataset_dir {root}: expected volumes ({', '.join(VOLUME_SUFFIXES)} or DICOM series), found {found}"
            )


def _without_masks(root: Path, patients: dict[Path, str], advise_channels: bool) -> dict[Path, str]:
    masks = [path for path in patients if folders.MASK.fullmatch(case_id(path, root))]
    folders.report_masks(root, masks, "; --channels takes what it matches" if advise_channels else "")
    return {path: patient for path, patient in patients.items() if path not in set(masks)}


def _by_channel(root: Path, images: list[Path], channels: Mapping[str, str]) -> dict[str, list[Path]]:
    """Group images into cases by file name patterns."""
    places: dict[Path, dict[tuple[str, ...], dict[str, Path]]] = {}
    for image in images:
        matches = {name: parts for name, glob in channels.items() if (parts := _match(glob, image.name)) is not None}
        if len(matches) > 1:
            raise InputError(f"{image}: expected at most one channel pattern to match, found {', '.join(matches)}")
        for name, parts in matches.items():
            places.setdefault(image.parent, {}).setdefault(parts, {})[name] = image
    cases: dict[str, dict[str, Path]] = {}
    for folder, groups in places.items():
        together = [item for group in groups.values() for item in group.items()]
        if len(groups) > 1 and sorted(name for name, _ in together) == sorted(channels):
            groups = {(): dict(together)}
        for parts, group in groups.items():
            cases[case_id(folder / "_".join(parts).strip("_-. "), root)] = group
    _refuse_missing_channels(root, cases, channels)
    return {case: [group[name] for name in channels] for case, group in cases.items()}


def _match(glob: str, name: str) -> tuple[str, ...] | None:
    """What the wildcards of a pattern match in a name, or None."""
    wildcards = {"*": "(.*)", "?": "(.)"}
    found = re.fullmatch("".join(wildcards.get(letter) or re.escape(letter) for letter in glob), name)
    return found.groups() if found else None


def _refuse_missing_channels(root: Path, cases: Mapping[str, dict[str, Path]], channels: Mapping[str, str]) -> None:
    if not cases:
        raise InputError(f"dataset_dir {root}: no image matches the channels {dict(channels)}")
    lacking = {case: [name for name in channels if name not in group] for case, group in sorted(cases.items())}
    lines = [
        f"{case} lacks {', '.join(f'{n} ({channels[n]})' for n in names)}" for case, names in lacking.items() if names
    ]
    if lines:
        more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        raise InputError(
            f"dataset_dir {root}: expected every channel in each of {len(cases)} cases: {'; '.join(lines[:5])}{more}"
        )


def _require_itk(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        paths = case["image"] if isinstance(case["image"], list) else [case["image"]]
        for path in paths:
            if path.lower().endswith(folders.ITK_SUFFIXES) and importlib.util.find_spec("itk") is None:
                raise InputError(f"{path}: MHA and MHD files need the package itk, which is missing: pip install itk")
