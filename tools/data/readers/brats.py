"""Reader of the BraTS challenges: ``<case>_flair.nii.gz``, ``<case>-t2f.nii.gz``, with one file per channel."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from tools.data.readers.base import Case, Folder
from tools.data.readers.dataset_file import read_label_values
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

CHANNELS = ("FLAIR", "T1w", "t1gd", "T2w")


class Naming(NamedTuple):
    """File names of a challenge: ``<case><mark><word>.nii.gz``.

    Attributes:
        mark: separator before the word.
        words: words of the four channels, in the order of `CHANNELS`.
        enhancing: label value of the enhancing tumour, unless the label maps have the other one.
    """

    mark: str
    words: tuple[str, str, str, str]
    enhancing: int


#: names until 2021, and since 2023
NAMINGS = (Naming("_", ("flair", "t1", "t1ce", "t2"), 4), Naming("-", ("t2f", "t1n", "t1c", "t2w"), 3))
NOT_NAMED = "not named as in BraTS"
TIMEPOINT = re.compile(r"(BraTS-\w+-\d+)-\d{3}")  # patients may have several time points
MAX_READ = 8  # evenly spaced label maps that are read
POST_TREATMENT = re.compile(r"BraTS-GLI-\d+-1\d\d")  # BraTS 2024 and later count time points from 100


class Brats(VolumeReader):
    """Layouts of the challenges of 2018 to 2021 and since 2023, with channels in the order of the Decathlon.

    Files are in one folder, or in one folder per scan.
    """

    layout = "BraTS scans (…_flair/_t1/_t1ce/_t2/_seg.nii.gz or …-t2f/-t1n/-t1c/-t2w/-seg.nii.gz)"
    by_content = False

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there is a scan with all four channels."""
        return any(_is_complete(folder, naming) for naming in NAMINGS)

    @cached_property
    def _naming(self) -> Naming:
        return next(naming for naming in NAMINGS if _is_complete(self.folder, naming))

    @cached_property
    def _files(self) -> dict[str, dict[str, list[Path]]]:
        return _group(self.folder, self._naming)

    def scans(self) -> list[Case]:
        """List the scans; raise `InputError` if a channel is missing or duplicated."""
        cases = []
        for case, files in self._files.items():
            if twice := next((one for one in files.values() if len(one) > 1), None):
                raise InputError(f"{twice[0]}: expected one file per channel, found also {twice[1].name}; remove one")
            if missing := [f"{self._naming.mark}{word}" for word in self._naming.words if word not in files]:
                raise InputError(
                    f"dataset_dir {self.folder.root}: expected four channels of every scan, found {case} without "
                    f"{', '.join(missing)}; add the file, move the scan to another folder, or set --channels"
                )
            timepoint = TIMEPOINT.fullmatch(case.rpartition("/")[2])
            patient = timepoint.group(1) if timepoint else case
            images = [str(files[word][0]) for word in self._naming.words]
            cases.append({"case": case, "patient": patient, "image": images})
        used = {path for case in cases for path in case["image"]}
        self.folder.ignore(NOT_NAMED, [one for one in self.images() if str(one) not in used])
        return cases

    def label_files(self) -> dict[str, str]:
        """Return the label map of each image file."""
        labelled = [files for files in self._files.values() if "seg" in files]
        return {str(one): str(files["seg"][0]) for files in labelled for paths in files.values() for one in paths}

    def channel_names(self) -> list[str] | None:
        """Return the names of the patterns, or `CHANNELS`."""
        return super().channel_names() or list(CHANNELS)

    def labels(self) -> dict[str, int]:
        """Return label values by name from a dataset.json, or from case names and the values of some label maps.

        Core is 1 and oedema 2. The enhancing tumour is 4 until 2021, and 3 since 2023 and in some copies of 2021. In
        BraTS 2024, 4 is the resection cavity of treated gliomas, which is not part of a region.

        Raises:
            InputError: for BraTS-PEDs, whose label values differ between years, or if the meaning of 4 is ambiguous.
        """
        return read_label_values(self.folder) or self._from_voxels()

    def _from_voxels(self) -> dict[str, int]:
        where = f"dataset_dir {self.folder.root}"
        names = [case.rpartition("/")[2] for case in self._files]
        if pediatric := [name for name in names if name.startswith("BraTS-PED")]:
            raise InputError(f"{where}: {pediatric[0]}: BraTS-PEDs has other label values; {_ADD_DATASET_FILE}")
        found = _stored_values([files["seg"][0] for files in self._files.values() if "seg" in files])
        both = any({3, 4} <= values for values in found)
        three, four = (any(value in values for values in found) for value in (3, 4))
        treated = both or any(POST_TREATMENT.fullmatch(name) for name in names)
        if four and not treated and (three or self._naming.enhancing == 3):
            raise InputError(
                f"{where}: expected label 4 for the enhancing tumour (until 2021), or 4 for the resection cavity "
                f"and 3 for the enhancing tumour (BraTS 2024), found both possible; {_ADD_DATASET_FILE}"
            )
        labels = {"core": 1, "edema": 2, "enhancing": 3 if three or treated else self._naming.enhancing}
        return labels | ({"resection cavity": 4} if treated else {})


_ADD_DATASET_FILE = (
    'add a dataset.json, such as {"labels": {"1": "core", "2": "edema", "3": "enhancing", "4": "resection cavity"}}'
)


def _stored_values(label_maps: list[Path]) -> list[frozenset[int]]:
    """Return the values in some label maps; unreadable ones are reported by the preprocessing."""
    found = []
    for path in label_maps[:: -(-len(label_maps) // MAX_READ)] if label_maps else []:
        try:
            found.append(_values_in(path, path.stat().st_size, path.stat().st_mtime_ns))
        except Exception:  # nibabel and zlib raise various errors
            continue
    return found


@lru_cache(maxsize=4 * MAX_READ)
def _values_in(path: Path, size: int, time: int) -> frozenset[int]:
    """Return the values in a label map, cached by file size and modification time."""
    return frozenset(int(value) for value in np.unique(np.asanyarray(nibabel.load(path).dataobj)))


def _is_complete(folder: Folder, naming: Naming) -> bool:
    return any(set(naming.words) <= files.keys() for files in _group(folder, naming).values())


def _group(folder: Folder, naming: Naming) -> dict[str, dict[str, list[Path]]]:
    """Group files by case and by the word in their names."""
    pattern = re.compile(rf"(.+){naming.mark}({'|'.join(naming.words)}|seg)\.nii(\.gz)?")
    scans: dict[str, dict[str, list[Path]]] = {}
    for file in folder.files:
        if found := pattern.fullmatch(file.name):
            name = found.group(1)
            place = file.parent if file.parent.name == name else file.parent / name
            scans.setdefault(folder.case_id(place), {}).setdefault(found.group(2), []).append(file)
    return scans
