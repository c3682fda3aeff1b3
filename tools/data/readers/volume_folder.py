"""Reader of any folder tree of volumes, with label maps beside the images or in folders of their own."""

from __future__ import annotations

from tools.data.readers.base import VOLUME_SUFFIXES, Case, Folder
from tools.data.readers.dataset_file import nested_dataset_hint
from tools.data.readers.label_maps import GROUND_TRUTH, OVERRIDE
from tools.data.readers.pairing import pair_labels
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
        """Label map by image; raise an `InputError` if several label maps fit one image.

        None where a dataset.json lies in a subfolder, which is a data set of its own.
        """
        if nested_dataset_hint(self.folder):  # which has channels and label values of its own
            return {}
        structures = [path for path, reason in self.label_maps.items() if reason in GROUND_TRUTH]
        return pair_labels(self.folder, self.matched(), structures)
