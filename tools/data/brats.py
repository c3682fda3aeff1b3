"""The folders of the BraTS challenges, recognised by their file names; channels in the Decathlon's order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tools.data.folders import case_id
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


class BratsCase(NamedTuple):
    """Files of one scan: channels in the order of `CHANNELS`, and the label or None; the patient it is of."""

    images: list[Path]
    label: Path | None
    patient: str


def find_brats(root: Path, files: Iterable[Path]) -> tuple[Naming, dict[str, BratsCase]] | None:
    """Scans by case id, when some folder holds the four channels of one under a challenge's names; else None.

    Args:
        root: the data set's folder.
        files: what lies below it.

    Raises:
        InputError: another scan lacks a channel.
    """
    files = list(files)
    for naming in NAMINGS.values():
        scans = _group(root, files, naming)
        if any(set(naming.words) <= found.keys() for found in scans.values()):
            return naming, {case: _scan(root, case, found, naming) for case, found in sorted(scans.items())}
    return None


def _group(root: Path, files: list[Path], naming: Naming) -> dict[str, dict[str, Path]]:
    pattern = re.compile(rf"(.+){naming.mark}({'|'.join(naming.words)}|seg)\.nii(\.gz)?")
    scans: dict[str, dict[str, Path]] = {}
    for file in files:
        if found := pattern.fullmatch(file.name):
            name = found.group(1)
            place = file.parent if file.parent.name == name else file.parent / name
            scans.setdefault(case_id(place, root), {})[found.group(2)] = file
    return scans


def _scan(root: Path, case: str, found: dict[str, Path], naming: Naming) -> BratsCase:
    missing = [word for word in naming.words if word not in found]
    if missing:
        names = ", ".join(f"{naming.mark}{word}" for word in missing)
        raise InputError(f"dataset_dir {root}: expected four channels of every scan, {case} lacks {names}")
    name = case.rpartition("/")[2]
    timepoint = re.fullmatch(r"(BraTS-\w+-\d+)-\d{3}", name)  # of one patient there may be several
    return BratsCase([found[word] for word in naming.words], found.get("seg"), timepoint.group(1) if timepoint else "")
