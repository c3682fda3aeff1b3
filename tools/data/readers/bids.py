"""Reader of the Brain Imaging Data Structure (BIDS): ``sub-01/[ses-1/]anat/sub-01_[ses-1_]T1w.nii.gz``."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import nibabel

from tools.data.readers import words
from tools.data.readers.base import VOLUME_SUFFIXES, Case, Folder, strip_suffix
from tools.data.readers.label_maps import is_label_map, may_be_ground_truth, reason_by_name
from tools.data.readers.pairing import choose_label_maps
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

DESCRIPTION = "dataset_description.json"
#: folders of scans without time axis; other folders are used if there are none of these
STRUCTURAL = {"anat", "ct", "pet", "micr"}
NOT_STRUCTURAL = "BIDS time series and diffusion series"
OUTSIDE = "not named as in BIDS"
RAW = "rawdata"
#: entities that a scan and its label map have in common; in a template space, the grid differs from the raw scan
_ENTITIES = re.compile(
    r"(?:^|_)((?:(?:sub|ses|run)-|space-(?:MNI|fsaverage|fsLR|OASIS|ICBM|UNC|NKI|Talairach|tpl))[0-9A-Za-z]+)"
)


class Bids(VolumeReader):
    """BIDS data set, or several BIDS data sets in a folder.

    Cases are structural scans outside ``derivatives``. Label maps are found by subject, session and run in the raw data
    set or its derivatives.
    """

    layout = "a BIDS data set (sub-01/anat/sub-01_T1w.nii.gz)"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether at least half of the volumes outside ``derivatives`` are scans of subjects."""
        volumes = [file for file in folder.files if file.name.lower().endswith(VOLUME_SUFFIXES)]
        raw = sum(_is_raw(folder, file) for file in volumes)
        return raw > 0 and 2 * raw >= sum(not _is_excluded(folder, file) for file in volumes)

    @cached_property
    def _scans(self) -> dict[Path, str]:
        """Data type folder (``anat``) of each scan that is not a label map."""
        raw = {file: file.parent.name for file in self.images() if _is_raw(self.folder, file)}
        structural = {
            file for file, kind in raw.items() if kind in STRUCTURAL or (kind == "dwi" and _is_one_volume(file))
        }
        scans = {file: kind for file, kind in raw.items() if file in structural} or raw
        self.folder.mark_used(root / DESCRIPTION for root in self._roots)
        self.folder.ignore(NOT_STRUCTURAL, [file for file in raw if file not in scans])
        self.folder.ignore(OUTSIDE, [file for file in self.images() if file not in raw])
        return scans

    def scans(self) -> list[Case]:
        """List the structural scans; the patient is the subject, with its data set if there are several."""
        if not self._scans:
            raise InputError(f"dataset_dir {self.folder.root}: expected {self.layout}, found {self.folder.describe()}")
        return [
            {"case": self.folder.case_id(file), "patient": self._patient(file), "image": str(file)}
            for file in self._scans
        ]

    @cached_property
    def _roots(self) -> set[Path]:
        return {file.parent for file in self.folder.files if file.name == DESCRIPTION}

    def _patient(self, file: Path) -> str:
        subject = next(part for part in self.folder.relative(file).split("/") if words.is_bids_subject(part))
        own = (one for one in file.parents if one in self._roots or words.is_population(one.name))
        above = next(own, self.folder.root)
        inside = above != self.folder.root and above.is_relative_to(self.folder.root)
        return f"{self.folder.relative(above)}/{subject}" if inside else subject

    def label_files(self) -> dict[str, str]:
        """Return the label map of each scan; raise `InputError` if a scan has several label maps."""
        label_maps = [
            file for file, why in self.label_maps.items() if may_be_ground_truth(self.folder.case_id(file), why)
        ]
        if not label_maps:
            unnamed = [file for file in self.label_maps if not reason_by_name(self.folder.case_id(file))]
            label_maps = [file for file in unnamed if is_label_map(file)]
        maps: dict[str, list[Path]] = defaultdict(list)
        for file in label_maps:
            maps[self._key(file)].append(file)
        scans = [file for file in (self.matched() if self.channels else self._scans) if _is_raw(self.folder, file)]
        return choose_label_maps(self.folder, {scan: maps[key] for scan in scans if (key := self._key(scan)) in maps})

    def _key(self, file: Path) -> str:
        """Return data set, subject, session, run and template of a file."""
        relative = self.folder.relative(file).split(f"{words.DERIVATIVES}/")[0]
        parts = relative.split("/")
        start = next((place for place, part in enumerate(parts) if words.is_bids_subject(part)), len(parts) - 1)
        return "/".join([*(part for part in parts[:start] if part != RAW), *_ENTITIES.findall(strip_suffix(file.name))])


def _is_raw(folder: Folder, file: Path) -> bool:
    """Return whether a volume is a scan of a subject outside derivatives and source data."""
    parts = folder.relative(file).split("/")
    subjects = [part for part in parts[:-1] if words.is_bids_subject(part)]
    return bool(subjects) and parts[-1].startswith(f"{subjects[-1]}_") and not _is_excluded(folder, file)


def _is_excluded(folder: Folder, file: Path) -> bool:
    return not {words.DERIVATIVES, "sourcedata", "code", "stimuli"}.isdisjoint(folder.relative(file).split("/")[:-1])


def _is_one_volume(file: Path) -> bool:
    """Return whether a file has three axes, such as a mean or a parameter map of diffusion."""
    try:
        return len(nibabel.load(file).shape) == 3
    except Exception:  # damaged files are reported by the preprocessing
        return False
