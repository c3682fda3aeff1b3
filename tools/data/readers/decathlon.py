"""Reader of the Medical Segmentation Decathlon: ``dataset.json`` with lists of images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.data.readers.base import Case, Folder
from tools.data.readers.dataset_file import (
    DATASET_FILE,
    check_files_exist,
    read_channel_names,
    read_dataset_file,
    resolve_path,
)
from tools.data.readers.patients import join_cases
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

ABSENT = "missing files listed in dataset.json"
UNNAMED = "not listed in dataset.json"


class Decathlon(VolumeReader):
    """Layout of the Decathlon. Training, validation and test images are all cases."""

    layout = "a Medical Segmentation Decathlon folder (dataset.json with 'training')"
    by_content = False

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there is a list of training images; raise `InputError` for an invalid JSON file."""
        return isinstance(read_dataset_file(folder).get("training"), list)

    def scans(self) -> list[Case]:
        """List the images; raise `InputError` if training images are missing, or there are none."""
        content = read_dataset_file(self.folder)
        training, test = (
            [self._images(entry) for key in keys for entry in content.get(key) or []]
            for keys in (("training",), ("validation", "test"))
        )
        if not training + test:
            raise InputError(f"{self.folder.root / DATASET_FILE}: expected images in 'training', found none")
        check_files_exist(self.folder, [path for paths in training for path in paths], "training images")
        found = set(self.folder.files)
        self.folder.ignore(ABSENT, [path for paths in test for path in paths if path not in found])
        used = dict.fromkeys([*training, *(paths for paths in test if found.issuperset(paths))])
        self._check_channels(list(used))
        named = {path for paths in used for path in paths}
        self.folder.ignore(UNNAMED, [one for one in self.images() if one not in named])
        ids = {paths: self.folder.case_id(paths[0]) for paths in used}
        patients = join_cases(list(ids.values()))
        return [
            {"case": case, "patient": patients[case]}
            | {"image": str(paths[0]) if len(paths) == 1 else list(map(str, paths))}
            for paths, case in ids.items()
        ]

    def _images(self, entry: Any) -> tuple[Path, ...]:
        """Return the images of an entry; several are channels, as in MONAI."""
        named = entry.get("image") if isinstance(entry, dict) else entry
        names = named if isinstance(named, list) and named else [named]
        return tuple(resolve_path(self.folder, name, "image") for name in names)

    def _check_channels(self, images: list[tuple[Path, ...]]) -> None:
        if other := next((paths for paths in images if len(paths) != len(images[0])), None):
            raise InputError(
                f"{self.folder.root / DATASET_FILE}: expected {len(images[0])} images in every entry, "
                f"found {len(other)} in the entry of {self.folder.relative(other[0])}"
            )

    def label_files(self) -> dict[str, str]:
        """Return the label map of each image file."""
        content = read_dataset_file(self.folder)
        entries = [entry for key in ("training", "validation", "test") for entry in content.get(key) or []]
        pairs = [entry for entry in entries if isinstance(entry, dict) and entry.get("label") is not None]
        return {
            str(image): str(resolve_path(self.folder, pair["label"], "label"))
            for pair in pairs
            for image in self._images(pair)
        }

    def channel_names(self) -> list[str] | None:
        """Return the names of the patterns, or of "modality"."""
        return super().channel_names() or read_channel_names(self.folder, "modality")
