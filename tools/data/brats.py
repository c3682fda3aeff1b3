"""The folders of the BraTS challenges, recognised by their file names; channels in the Decathlon's order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tools.data.folders import case_id, make_case, refuse_equal_ids
from tools.errors import InputError

CHANNELS = ("FLAIR", "T1w", "t1gd", "T2w")


class Naming(NamedTuple):
    """How a challenge names its files: ``<case><mark><word>.nii.gz``.

    Attributes:
        mark: what stands before the word.
        words: of the four channels, in the order of `CHANNELS`.
        values: stored value of each structure.
    """

    mark: str
    words: tuple[str, str, str, str]
    values: dict[str, int]


NAMINGS = {
    "BraTS 2018 to 2021": Naming("_", ("flair", "t1", "t1ce", "t2"), {"core": 1, "edema": 2, "enhancing": 4}),
    "BraTS 2023": Naming("-", ("t2f", "t1n", "t1c", "t2w"), {"core": 1, "edema": 2, "enhancing": 3}),
}


class Brats(NamedTuple):
    """What `find_brats` finds: how files are named, and by case id the files of a scan by the word in their name."""

    naming: Naming
    scans: dict[str, dict[str, Path]]


def find_brats(root: Path, files: Iterable[Path]) -> Brats | None:
    """Scans sorted by case id, when some folder holds the four channels of one under a challenge's names; else None.

    Args:
        root: the data set's folder.
        files: what lies below it.
    """
    files = list(files)
    for naming in NAMINGS.values():
        scans = _group(root, files, naming)
        if any(set(naming.words) <= found.keys() for found in scans.values()):
            return Brats(naming, dict(sorted(scans.items())))
    return None


def brats_cases(root: Path, brats: Brats, on_disk: Iterable[Path]) -> list[dict[str, Any]]:
    """Cases as `find_cases` gives them, with the channels in the order of `CHANNELS`.

    Args:
        root: the data set's folder.
        brats: the scans in it.
        on_disk: the volumes found under `root`; those of no scan are told in one line.

    Raises:
        InputError: a scan lacks a channel, or has one twice (``.nii`` and ``.nii.gz``).
    """
    refuse_equal_ids(root, on_disk)
    if extra := sorted(set(on_disk) - {file for found in brats.scans.values() for file in found.values()}):
        print(f"note: {root}: {len(extra)} volumes not named as in BraTS are left out: {extra[0].relative_to(root)}")
    return [_case(root, case, found, brats.naming) for case, found in brats.scans.items()]


def _group(root: Path, files: list[Path], naming: Naming) -> dict[str, dict[str, Path]]:
    pattern = re.compile(rf"(.+){naming.mark}({'|'.join(naming.words)}|seg)\.nii(\.gz)?")
    scans: dict[str, dict[str, Path]] = {}
    for file in files:
        if found := pattern.fullmatch(file.name):
            name = found.group(1)
            place = file.parent if file.parent.name == name else file.parent / name
            scans.setdefault(case_id(place, root), {})[found.group(2)] = file
    return scans


def _case(root: Path, case: str, found: dict[str, Path], naming: Naming) -> dict[str, Any]:
    missing = [word for word in naming.words if word not in found]
    if missing:
        names = ", ".join(f"{naming.mark}{word}" for word in missing)
        raise InputError(f"dataset_dir {root}: expected four channels of every scan, {case} lacks {names}")
    timepoint = re.fullmatch(r"(BraTS-\w+-\d+)-\d{3}", case.rpartition("/")[2])  # of one patient there may be several
    return make_case(case, [found[word] for word in naming.words], timepoint.group(1) if timepoint else "")
