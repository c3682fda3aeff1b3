"""Base class of readers of volumes."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tools.data.formats.dicom_series import find_series
from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES, Case, Folder, Reader, images_of
from tools.data.readers.channels import is_label_map_pattern, join_channels, match_pattern
from tools.data.readers.dataset_file import read_label_values
from tools.data.readers.label_maps import find_label_maps
from tools.data.readers.patients import find_patients, join_headers
from tools.utils.errors import InputError

VOLUMES = "volumes"
UNMATCHED = "images that match no channel"
ITK_SUFFIXES = (".mha", ".mhd")


class VolumeReader(Reader):
    """Base class of readers of volumes.

    Args:
        folder: the data set.
        channels: pattern by channel name, see `tools.data.readers.channels`. The patterns then determine the cases, and
            the layout only the labels.
        patient_pattern: regular expression for the patients of files of `channels`, see `tools.data.readers.patients`.
        include_label_maps: whether label maps are cases. None, for configurations without this key, is False without
            advice in messages.
        max_quality_score: largest image quality score of a case, from 1 (best) to 5 (worst), for data lists with
            scores; None for all cases.

    Attributes:
        by_content: whether the voxels of files are checked to detect label maps without such names.
        has_quality_scores: whether the layout has image quality scores.

    Raises:
        InputError: if `max_quality_score` is given for a layout without such scores.
    """

    kind = VOLUMES
    by_content: ClassVar[bool] = True
    has_quality_scores: ClassVar[bool] = False

    def __init__(
        self,
        folder: Folder,
        channels: Mapping[str, str] | None = None,
        patient_pattern: str | None = None,
        include_label_maps: bool | None = False,
        max_quality_score: float | None = None,
    ) -> None:
        super().__init__(folder)
        if max_quality_score is not None and not self.has_quality_scores:
            raise InputError(
                f"max_quality_score: expected None, since {folder.root} has no image quality scores, found "
                f"{max_quality_score!r}; data lists of nnssl and OpenMind have them"
            )
        self.channels = channels
        self.patient_pattern = patient_pattern
        self.include_label_maps = include_label_maps
        self.max_quality_score = max_quality_score

    @abstractmethod
    def scans(self) -> list[Case]:
        """List the cases of the layout, without labels."""

    def label_files(self) -> dict[str, str]:
        """Return the label map of each image file; the files may be missing."""
        return {}

    def cases(self) -> list[Case]:
        """List the cases, without labels."""
        found = self._joined() if self.channels else self.scans()
        if self.include_label_maps and not self.channels:
            used = {image for case in found for image in images_of(case)}
            more = [one for one in self.label_maps if str(one) not in used]
            found = found + [{"case": self.folder.case_id(one), "image": str(one)} for one in more]
        _require_itk(found)
        return found

    def labels(self) -> dict[str, int] | None:
        """Return the label values in dataset.json by name, also if it does not list images."""
        return read_label_values(self.folder)

    def channel_names(self) -> list[str] | None:
        """Return the names of the patterns."""
        return list(self.channels) if self.channels else None

    @cached_property
    def series(self) -> dict[Path, str]:
        """PatientID of each DICOM series; empty if all series have the same one, as after anonymisation."""
        candidates = (
            file for file in self.folder.files if not file.name.lower().endswith(VOLUME_SUFFIXES + IMAGE_SUFFIXES)
        )
        series, unused = find_series(candidates)
        for reason, files in unused.items():
            self.folder.ignore(reason, files)
        self.folder.mark_used(file for one in series for file in one.files)
        same = len({one.patient for one in series}) == 1
        return {one.path: "" if same else one.patient for one in series}

    @cached_property
    def label_maps(self) -> dict[Path, str]:
        """Reason for each volume that is a label map."""
        found = find_label_maps(self.folder, self.folder.volumes, self.by_content)
        for reason in dict.fromkeys(found.values()):
            self.folder.ignore(reason, [file for file, why in found.items() if why == reason])
        return found

    def images(self) -> dict[Path, str]:
        """Return the PatientID (or an empty string) of each volume, without label maps unless they are included."""
        excluded = {} if self.include_label_maps else self.label_maps
        return dict.fromkeys((one for one in self.folder.volumes if one not in excluded), "") | self.series

    def matched(self) -> list[Path]:
        """Return the images that match a pattern; all images without patterns."""
        patterns = (self.channels or {}).values()
        return [
            one
            for one in self.images()
            if not patterns or any(match_pattern(glob, one) is not None for glob in patterns)
        ]

    def _joined(self) -> list[Case]:
        """Return cases by the patterns; label maps are only used by patterns with label map names."""
        explicit = [pattern for pattern in self.channels.values() if is_label_map_pattern(pattern)]
        named = [file for file in self.label_maps if any(match_pattern(one, file) is not None for one in explicit)]
        images = self.images() | dict.fromkeys(named, "")
        ids = {image: self.folder.case_id(image) for image in images}
        patients = find_patients(list(ids.values()), self.patient_pattern)
        taken = {
            image for image in images if any(match_pattern(one, image) is not None for one in self.channels.values())
        }
        self.folder.ignore(UNMATCHED, [image for image in images if image not in taken])
        by_id = join_headers(patients, {ids[image]: patient for image, patient in images.items() if patient})
        by_image = {image: by_id[ids[image]] for image in images}
        joined = join_channels(self.folder, by_image, self.channels)
        return [
            {"case": case, "patient": by_image[paths[0]], "image": list(map(str, paths))}
            for case, paths in joined.items()
        ]


def _require_itk(cases: list[Case]) -> None:
    for path in (path for case in cases for path in images_of(case)):
        if path.lower().endswith(ITK_SUFFIXES) and importlib.util.find_spec("itk") is None:
            raise InputError(f"{path}: expected the package itk for MHA and MHD files, found none; pip install itk")
