"""Reader of any folder tree of volumes, with label maps next to the images or in separate folders."""

from __future__ import annotations

from tools.data.readers.base import VOLUME_SUFFIXES, Case, Folder
from tools.data.readers.dataset_file import nested_dataset_hint
from tools.data.readers.label_maps import GROUND_TRUTH, OVERRIDE
from tools.data.readers.pairing import pair_labels
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError


class VolumeFolder(VolumeReader):
    """Folder tree of NIfTI, NRRD, MHA and MHD files and DICOM series.

    The paths of an image and its label map differ only in words for modality, image and label: ``images/1.nii`` and
    ``labels/1.nii``, ``a.nii`` and ``a_seg.nii``, ``1/imaging.nii`` and ``1/segmentation.nii``, ``img0001.nii`` and
    ``label0001.nii``.
    """

    layout = f"volumes ({', '.join(VOLUME_SUFFIXES)} or DICOM series)"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return True; `scans` raises an error for a folder without volumes."""
        return True

    def scans(self) -> list[Case]:
        """List all volumes that are not label maps."""
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
        """Return the label map of each image; empty if a subfolder has a dataset.json, as a separate data set.

        Raises:
            InputError: if an image has several label maps.
        """
        if nested_dataset_hint(self.folder):
            return {}
        label_maps = [path for path, reason in self.label_maps.items() if reason in GROUND_TRUTH]
        return pair_labels(self.folder, self.matched(), label_maps)
