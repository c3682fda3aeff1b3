"""Reader of the Medical Segmentation Decathlon: a ``dataset.json`` that lists images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.data.readers.base import Case, Folder
from tools.data.readers.dataset_file import DATASET_FILE, below, indexed_names, read_dataset_file, refuse_missing
from tools.data.readers.patients import join_cases
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

ABSENT = "named by dataset.json and absent"
UNNAMED = "not named by dataset.json"


class Decathlon(VolumeReader):
    """The layout of the Decathlon. All images the list names are cases: training, validation and test."""

    layout = "a Medical Segmentation Decathlon folder (dataset.json with 'training')"
    by_content = False

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there is a list of training images; raise an `InputError` for a file that is not JSON."""
        return isinstance(read_dataset_file(folder).get("training"), list)

    def scans(self) -> list[Case]:
        """List the images; raise an `InputError` if training images are missing, or there are none."""
        content = read_dataset_file(self.folder)
        training, test = (
            [self._image(entry) for key in keys for entry in content.get(key) or []]
            for keys in (("training",), ("validation", "test"))
        )
        if not training + test:
            raise InputError(f"{self.folder.root / DATASET_FILE}: expected images in 'training', found none")
        refuse_missing(self.folder, training, "training images")
        found = set(self.folder.files)
        self.folder.ignore(ABSENT, [path for path in test if path not in found])
        images = dict.fromkeys([*training, *(path for path in test if path in found)])
        self.folder.ignore(UNNAMED, [one for one in self.images() if one not in images])
        ids = {path: self.folder.case_id(path) for path in images}
        patients = join_cases(list(ids.values()))
        return [{"case": case, "patient": patients[case], "image": str(path)} for path, case in ids.items()]

    def _image(self, entry: Any) -> Path:
        return below(self.folder, entry.get("image") if isinstance(entry, dict) else entry, "image")

    def label_files(self) -> dict[str, str]:
        """Label map by image, as listed."""
        content = read_dataset_file(self.folder)
        entries = [entry for key in ("training", "validation", "test") for entry in content.get(key) or []]
        pairs = [entry for entry in entries if isinstance(entry, dict) and entry.get("label") is not None]
        return {str(self._image(pair)): str(below(self.folder, pair["label"], "label")) for pair in pairs}

    def channel_names(self) -> list[str] | None:
        """Names of "modality"."""
        return super().channel_names() or indexed_names(self.folder, "modality")
