"""Base class of readers of data lists: a file that names every scan with its subject, session and modality."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tools.data.readers.base import VOLUME_SUFFIXES, Case
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

UNLISTED = "volumes that the data list does not name"
MASKS = "anatomy masks, and masks of scans that are not used"
LOW_QUALITY = "image quality score above {}"
NO_SCORE = "no image quality score"
MAX_NAMED = 3


class Entry(NamedTuple):
    """Scan of a data list.

    Attributes:
        image: absolute path.
        patient: subject, with its data set.
        session: session of the subject.
        modality: modality as in the list.
        anon_mask: absolute path of the mask of anonymised voxels, or None.
        anat_mask: absolute path of the mask of the anatomy, or None.
        quality_score: image quality score, 1 (best) to 5 (worst), or None.
    """

    image: str
    patient: str
    session: str
    modality: str
    anon_mask: str | None = None
    anat_mask: str | None = None
    quality_score: float | None = None


class DataListReader(VolumeReader):
    """Base class of readers of data lists.

    Cases have the additional keys "session", "modality" and, if there is one, "anon_mask" (path of the mask of
    anonymised voxels). Only listed files are cases. Files are compared with the list of files in the folder, and not
    opened.

    Attributes:
        file_name: name of the data list in the folder.
    """

    by_content = False
    has_quality_scores = True
    file_name: ClassVar[str]

    @abstractmethod
    def read_entries(self) -> Iterator[Entry]:
        """Yield the scans of the list; raise `InputError` for an invalid list."""

    @cached_property
    def entries(self) -> list[Entry]:
        """Scans of the list, including those that are not used.

        Raises:
            InputError: if the list is invalid, names no scans, or names scans that do not exist.
        """
        entries = list(self.read_entries())
        if not entries:
            raise InputError(f"{self.list_path}: expected scans, found none")
        if missing := [one.image for one in entries if one.image not in self._files]:
            named = ", ".join(self.folder.relative(Path(one)) for one in missing[:MAX_NAMED])
            raise InputError(
                f"{self.list_path}: expected {len(entries)} scans, found {len(missing)} of them missing: {named}; "
                f"download them, or move {self.file_name} to another folder to use the files found"
            )
        self.folder.mark_used([self.list_path])
        return entries

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Files of the folder by path. They are not opened, unlike by `Folder.volumes`."""
        return {str(file): file for file in self.folder.files}

    @property
    def list_path(self) -> Path:
        """Path of the data list."""
        return self.folder.root / self.file_name

    @cached_property
    def label_maps(self) -> dict[Path, str]:
        """Empty, since all masks are named in the list and none is a label map."""
        return {}

    def images(self) -> dict[Path, str]:
        """Return the listed scans of sufficient quality, and record all other volumes as not used."""
        used, best = {}, self.max_quality_score
        unused: dict[str, list[Path]] = {}
        for one in self.entries:
            if best is None or (one.quality_score is not None and one.quality_score <= best):
                used[self._files[one.image]] = ""
            else:
                reason = NO_SCORE if one.quality_score is None else LOW_QUALITY.format(f"{best:g}")
                unused.setdefault(reason, []).append(self._files[one.image])
        masks = {mask for one in self.entries for mask in (one.anon_mask, one.anat_mask) if mask in self._files}
        listed = masks.union(one.image for one in self.entries)
        unused[MASKS] = [self._files[mask] for mask in masks]
        others = [file for name, file in self._files.items() if name not in listed]
        unused[UNLISTED] = [file for file in others if file.name.lower().endswith(VOLUME_SUFFIXES)]
        for reason, files in unused.items():
            self.folder.ignore(reason, files)
        if not used:
            raise InputError(
                f"max_quality_score: expected at least one scan of {self.list_path} with a score of at most {best:g}, "
                f"found none among {len(self.entries)}"
            )
        return used

    def scans(self) -> list[Case]:
        """List the scans."""
        used = self.images()
        return [self._case(one) for one in self.entries if self._files[one.image] in used]

    def _case(self, entry: Entry) -> Case:
        case = {
            "case": self.folder.case_id(self._files[entry.image]),
            "patient": entry.patient,
            "session": entry.session,
            "modality": entry.modality,
            "image": entry.image,
        }
        return case if entry.anon_mask is None else case | {"anon_mask": entry.anon_mask}

    def resolve(self, base: str, name: Any, place: str) -> str:
        """Return the absolute path of a listed file.

        Args:
            base: absolute path of the folder that relative paths start in.
            name: path in the list.
            place: place in the list, for messages.

        Raises:
            InputError: if the path is not text, or is outside the data folder.
        """
        root = str(self.folder.root)
        if isinstance(name, str) and name and "\0" not in name:
            path = os.path.normpath(os.path.join(base, name.replace("\\", "/")))
            if path.startswith(root.rstrip(os.sep) + os.sep):
                return path
        raise InputError(
            f"{self.list_path}: {place}: expected a path in {root}, found {name!r}; move the files there, and "
            "write their paths relative to it"
        )

    def score(self, value: Any, place: str) -> float | None:
        """Return an image quality score; None if there is none.

        Raises:
            InputError: if the value is not a number.
        """
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.inf
        if isinstance(value, bool) or math.isinf(number):
            raise InputError(f"{self.list_path}: {place}: expected a number as image_quality_score, found {value!r}")
        return None if math.isnan(number) else number
