"""Reader of nnU-Net's raw 2D data: ``imagesTr/CASE_0000.png``, with one file per channel."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from tools.data.readers.base import IMAGE_SUFFIXES, Case, Folder
from tools.data.readers.dataset_file import read_channel_names, read_dataset_file
from tools.data.readers.image_folder import ImageFolder
from tools.data.readers.nnunet import IMAGE_FOLDERS, NOT_NAMED, group_channels, label_folder, label_of, ordered_channels


class NnUNetImages(ImageFolder):
    """Raw layout of nnU-Net with several files per case; with one file per case, `ImageFolder` is used."""

    layout = "an nnU-Net raw folder of images (dataset.json, imagesTr/CASE_0000.png, imagesTr/CASE_0001.png)"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether imagesTr has a second channel according to dataset.json or labelsTr."""
        images = cls._numbered(folder)
        if all(set(files) == {0} for files in group_channels(folder, images).values()):
            return False
        files = set(folder.files)
        if any(label_folder(one) / one.name in files for one in images):
            return False  # the number is part of the case id
        return "channel_names" in read_dataset_file(folder) or any(label_of(one) in files for one in images)

    @staticmethod
    def _numbered(folder: Folder) -> list[Path]:
        places = [folder.root / name for name in IMAGE_FOLDERS]
        return [one for one in folder.files if one.parent in places and one.name.lower().endswith(IMAGE_SUFFIXES)]

    @cached_property
    def _channels_of(self) -> dict[str, list[str]]:
        channels = group_channels(self.folder, self._numbered(self.folder))
        return ordered_channels(self.folder, channels, read_channel_names(self.folder, "channel_names"))

    def cases(self) -> list[Case]:
        """List the cases without masks; raise `InputError` if a channel is missing."""
        used = {path for paths in self._channels_of.values() for path in paths}
        self.folder.ignore(NOT_NAMED, [one for one in self._images if str(one) not in used])
        return [{"case": case, "image": paths} for case, paths in self._channels_of.items()]

    def channel_names(self) -> list[str]:
        """Return the names in "channel_names", or numbers."""
        named = read_channel_names(self.folder, "channel_names")
        return named or [f"channel {index}" for index in range(len(next(iter(self._channels_of.values()))))]
