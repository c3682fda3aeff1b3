"""Reader of any folder tree of 2D images."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

from tools.data.formats.dicom_series import looks_like_dicom
from tools.data.formats.images import is_grey, open_image
from tools.data.readers.base import IMAGE_SUFFIXES, VOLUME_SUFFIXES, Case, Folder, Reader, count_files
from tools.data.readers.label_maps import BY_CONTENT, NAMED
from tools.data.readers.masks import is_mask_name, masks_by_content
from tools.data.readers.patients import find_patients
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

IMAGES = "images"
SAMPLED = 64  # approximate number of images whose headers are read
COLOURS = ["red", "green", "blue"]
SLICES = "--slice_axis 2 uses slices of volumes"


class ImageFolder(Reader):
    """Folder tree of PNG, JPEG, TIFF and BMP files.

    Args:
        folder: the data set.
        include_label_maps: whether masks are cases, see `tools.data.readers.masks`.
        advise_slices: whether messages recommend the configuration key `slice_axis`.
    """

    layout = f"images ({', '.join(IMAGE_SUFFIXES)})"
    kind = IMAGES

    def __init__(
        self,
        folder: Folder,
        include_label_maps: bool = False,
        advise_slices: bool = False,
    ) -> None:
        super().__init__(folder)
        self.include_label_maps = include_label_maps
        self.advise_slices = advise_slices

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return True; `cases` raises an error for a folder without images."""
        return True

    @cached_property
    def _images(self) -> list[Path]:
        """Images without masks, but with outputs of earlier runs."""
        images = [file for file in self.folder.files if file.name.lower().endswith(IMAGE_SUFFIXES)]
        masks = {one for one in images if is_mask_name(self.folder.case_id(one))}
        self.folder.ignore(NAMED, masks)
        kept = images if self.include_label_maps else [one for one in images if one not in masks]
        if not self.include_label_maps:
            found = set(masks_by_content(self.folder, kept))
            self.folder.ignore(BY_CONTENT, found)
            kept = [one for one in kept if one not in found]
        if not kept:
            raise self._no_images()
        return kept

    def cases(self) -> list[Case]:
        """List all images except masks; both eyes, sides and sessions of a patient have the same "patient"."""
        usable = set(self.folder.images)
        images = [one for one in self._images if one in usable]
        if not images:
            raise self._no_images()
        ids = [self.folder.case_id(path) for path in images]
        patients = find_patients(ids)
        return [
            {"case": case, "patient": patients[case], "image": str(path)}
            for case, path in zip(ids, images, strict=True)
        ]

    def channel_names(self) -> list[str]:
        """Return "red", "green" and "blue" if most of a sample of images are in colour, or else "grey"."""
        sample = [one for one in self._images[:: len(self._images) // SAMPLED + 1] if not is_output(one)]
        grey = [found for path in sample if (found := _is_grey(path)) is not None]
        if not grey:
            where = f"dataset_dir {self.folder.root}"
            raise InputError(f"{where}: expected readable images, found none among {count_files(len(self._images))}")
        return ["grey"] if 2 * sum(grey) > len(grey) else list(COLOURS)

    def _no_images(self) -> InputError:
        volumes = any(
            file.name.lower().endswith(VOLUME_SUFFIXES) or looks_like_dicom(file) for file in self.folder.files
        )
        hint = f"; {SLICES}" if volumes and self.advise_slices else ""
        expected = f"expected {self.layout}, found {self.folder.describe()}"
        return InputError(f"dataset_dir {self.folder.root}: {expected}{hint}")


def _is_grey(path: Path) -> bool | None:
    """Return whether an image has one channel; None if it cannot be read, which the preprocessing reports."""
    try:
        with open_image(path, sys.maxsize) as image:  # the header only
            return is_grey(image)
    except Exception:
        return None
