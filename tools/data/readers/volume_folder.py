"""Reader of any folder tree of volumes, with label maps beside the images or in folders of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tools.data.readers import words
from tools.data.readers.base import VOLUME_SUFFIXES, Case, Folder
from tools.data.readers.label_maps import OVERRIDE
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError


class VolumeFolder(VolumeReader):
    """A folder tree of NIfTI, NRRD, MHA and MHD files and DICOM series.

    The label map of an image has its name but for words for modality, image and label, in a folder that differs in
    such words: ``images/1.nii`` and ``labels/1.nii``, ``a.nii`` and ``a_seg.nii``, ``1/imaging.nii`` and
    ``1/segmentation.nii``, ``img0001.nii`` and ``label0001.nii``.
    """

    layout = f"volumes ({', '.join(VOLUME_SUFFIXES)} or DICOM series)"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return True; `scans` refuses a folder without volumes."""
        return True

    def scans(self) -> list[Case]:
        """List all volumes that are no label maps."""
        images = self.images()
        if not images:
            found = self.folder.describe() + (
                f"; {OVERRIDE}" if self.label_maps and self.include_label_maps is not None else ""
            )
            raise InputError(f"dataset_dir {self.folder.root}: expected {self.layout}, found {found}")
        return [
            {"case": self.folder.case_id(path), "image": str(path)} | ({"patient": patient} if patient else {})
            for path, patient in images.items()
        ]

    def label_files(self) -> dict[str, str]:
        """Label map by image; raise an `InputError` if several label maps fit one image."""
        return pair_labels(self.folder, self.images(), self.label_maps)


def pair_labels(folder: Folder, images: Iterable[Path], label_maps: Iterable[Path]) -> dict[str, str]:
    """Find the label map of each image by its path, see `VolumeFolder`.

    A label map whose name has more words, such as a structure (``a_liver.nii``), belongs to the image without them,
    unless that has one of its own name.

    Raises:
        InputError: several label maps of one image.
    """
    images = {path: _key(folder.case_id(path)) for path in images}
    keys = set(images.values())
    exact: dict[str, list[Path]] = defaultdict(list)
    longer: dict[str, list[Path]] = defaultdict(list)
    for path in label_maps:
        key = _key(folder.case_id(path))
        if key in keys:
            exact[key].append(path)
        elif (shorter := next((one for one in _shorten(key) if one in keys), None)) is not None:
            longer[shorter].append(path)
    pairs = {}
    for image, key in images.items():
        if labels := exact.get(key) or longer.get(key):
            if len(labels) > 1:
                shown = ", ".join(map(folder.relative, labels[:3]))
                found = f"{len(labels)} ({shown}); merge them into one file or keep one"
                raise InputError(f"{image}: expected one label map, found {found}")
            pairs[str(image)] = str(labels[0])
    return pairs


def _key(case: str) -> str:
    """Path without words that tell an image from its label map, ``/`` before the words of the name."""
    *folders, name = case.split("/")
    parts = [words.part_of_data(part) or part for part in folders]
    kept = [part for part in parts if not words.names_label_folder(part) and words.identity(part)]
    left = words.scan_identity(name)
    if kept and left == words.scan_identity(kept[-1]):
        left = ""
    return "/".join([*kept, left])


def _shorten(key: str) -> Iterable[str]:
    """The key without the last word, the last two, and so on; words with a digit stay."""
    folder, _, name = key.rpartition("/")
    parts = name.split("_")
    while parts and parts[-1] and not any(map(str.isdigit, parts[-1])):
        parts.pop()
        yield f"{folder}/{'_'.join(parts)}" if folder or "/" in key else "_".join(parts)
