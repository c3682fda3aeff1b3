"""The folders of the BraTS challenges, recognised by their file names; channels in the Decathlon's order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from tools.data.folders import case_id, make_case, refuse_equal_ids
from tools.utils.errors import InputError

CHANNELS = ("FLAIR", "T1w", "t1gd", "T2w")


class Naming(NamedTuple):
    """How a challenge names its files: ``<case><mark><word>.nii.gz``.

    Attributes:
        mark: what stands before the word.
        words: of the four channels, in the order of `CHANNELS`.
        enhancing: stored value of the enhancing tumour, unless the label maps have the other one.
    """

    mark: str
    words: tuple[str, str, str, str]
    enhancing: int


NAMINGS = {
    "BraTS 2018 to 2021": Naming("_", ("flair", "t1", "t1ce", "t2"), 4),
    "BraTS 2023 and later": Naming("-", ("t2f", "t1n", "t1c", "t2w"), 3),
}
MAX_READ = 8  # label maps, spread evenly, that stand for all
POST_TREATMENT = re.compile(r"BraTS-GLI-\d+-1\d\d")  # time points of BraTS 2024 and later, counted from 100


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


def brats_structures(root: Path, brats: Brats) -> dict[str, int]:
    """Stored value of each structure, from the names of the cases and the values in some of their label maps.

    Core is 1 and oedema 2. The enhancing tumour is 4 until 2021 and 3 since (also in copies of 2021), where 4 is the
    resection cavity of treated gliomas (BraTS 2024), which belongs to no region.

    Args:
        root: the data set's folder.
        brats: the scans in it.

    Raises:
        InputError: the cases of BraTS-PEDs, numbered otherwise from year to year, or a 4 that may be either.
    """
    names = [case.rpartition("/")[2] for case in brats.scans]
    if pediatric := [name for name in names if name.startswith("BraTS-PED")]:
        raise InputError(f"dataset_dir {root}: {pediatric[0]}: BraTS-PEDs numbers its labels otherwise; {_NAME_THEM}")
    found = _stored_values([scan["seg"] for scan in brats.scans.values() if "seg" in scan])
    both = any({3, 4} <= values for values in found)
    three, four = (any(value in values for values in found) for value in (3, 4))
    treated = both or any(POST_TREATMENT.fullmatch(name) for name in names)
    if four and not treated and (three or brats.naming.enhancing == 3):
        raise InputError(
            f"dataset_dir {root}: expected label 4 as the enhancing tumour (BraTS 2018 to 2021) or as the resection "
            f"cavity beside an enhancing tumour of 3 (BraTS 2024), found that it may be either; {_NAME_THEM}"
        )
    structures = {"core": 1, "edema": 2, "enhancing": 3 if three or treated else brats.naming.enhancing}
    return structures | ({"resection cavity": 4} if treated else {})


_NAME_THEM = (
    "name them in a dataset.json there, such as "
    '{"labels": {"1": "core", "2": "edema", "3": "enhancing", "4": "resection cavity"}}'
)


def _stored_values(label_maps: list[Path]) -> list[frozenset[int]]:
    """Values in each of some label maps; those that cannot be read are reported when they are prepared."""
    found = []
    for path in label_maps[:: -(-len(label_maps) // MAX_READ)] if label_maps else []:
        try:
            found.append(_values_in(path, path.stat().st_size, path.stat().st_mtime_ns))
        except Exception:  # a damaged file can fail anywhere in nibabel and zlib
            continue
    return found


@lru_cache(maxsize=4 * MAX_READ)
def _values_in(path: Path, size: int, time: int) -> frozenset[int]:
    """Values in a label map, read once as long as its size and time stay."""
    return frozenset(int(value) for value in np.unique(np.asanyarray(nibabel.load(path).dataobj)))


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
