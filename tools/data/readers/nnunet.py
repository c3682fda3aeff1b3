"""Reader of nnU-Net's raw data: ``imagesTr/CASE_0000.nii.gz`` with one file per channel, ``labelsTr/CASE.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tools.data.readers.base import VOLUME_SUFFIXES, Case, Folder, strip_suffix
from tools.data.readers.dataset_file import read_channel_names, read_dataset_file
from tools.data.readers.patients import join_cases
from tools.data.readers.volumes import VolumeReader
from tools.utils.errors import InputError

IMAGE_FOLDERS = ("imagesTr", "imagesVa", "imagesTs")
NOT_NAMED = "not named as in nnU-Net"
_FILE = re.compile(r"(.+)_(\d{4})")


class NnUNet(VolumeReader):
    """Raw layout of nnU-Net, versions 1 and 2. The images of all folders are cases."""

    layout = "an nnU-Net raw folder (dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz)"
    by_content = False

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether imagesTr has numbered channels according to dataset.json or labelsTr."""
        images = [one for one in cls._images(folder) if _FILE.fullmatch(strip_suffix(one.name))]
        if not images:
            return False
        content = read_dataset_file(folder)
        files = set(folder.files)
        first = next(iter(content.get("training") or []), None)
        named = first.get("image") if isinstance(first, dict) else first
        named = named[0] if isinstance(named, list) and named else named
        if any(label_folder(one) / one.name in files for one in images):
            return False  # the number is part of the case id, such as amos_0001
        if isinstance(named, str):  # Decathlon, or nnU-Net 1, whose list has names without channels
            return folder.root / named.replace("\\", "/") not in files
        return bool(content.get("channel_names") or content.get("modality")) or any(
            label_of(one) in files for one in images
        )

    @staticmethod
    def _images(folder: Folder) -> list[Path]:
        places = [folder.root / name for name in IMAGE_FOLDERS]
        return [one for one in folder.files if one.parent in places and one.name.lower().endswith(VOLUME_SUFFIXES)]

    @cached_property
    def _channels_of(self) -> dict[str, dict[int, Path]]:
        """Files of each case by channel number."""
        return group_channels(self.folder, self._images(self.folder))

    def scans(self) -> list[Case]:
        """List the cases; raise `InputError` if a channel is missing."""
        images = ordered_channels(self.folder, self._channels_of, self.channel_names())
        patients = join_cases(list(images))
        cases = [{"case": case, "patient": patients[case], "image": paths} for case, paths in images.items()]
        used = {path for files in self._channels_of.values() for path in files.values()}
        self.folder.ignore(NOT_NAMED, [one for one in self.images() if one not in used])
        return cases

    def label_files(self) -> dict[str, str]:
        """Return the label map of each image file in labelsTr, labelsVa and labelsTs."""
        files = set(self.folder.files)
        return {
            str(path): str(label)
            for channels in self._channels_of.values()
            for path in channels.values()
            if (label := label_of(path)) in files
        }

    def channel_names(self) -> list[str] | None:
        """Return the names in "channel_names", or in "modality" (version 1)."""
        named = super().channel_names() or read_channel_names(self.folder, "channel_names")
        return named or read_channel_names(self.folder, "modality")


def group_channels(folder: Folder, images: Iterable[Path]) -> dict[str, dict[int, Path]]:
    """Group files by case and channel number; files without a name like ``CASE_0000`` are ignored.

    Raises:
        InputError: if a channel has two files.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in images:
        if name := _FILE.fullmatch(strip_suffix(path.name)):
            files = found.setdefault(folder.case_id(path.with_name(name[1])), {})
            if (other := files.setdefault(int(name[2]), path)) != path:
                raise InputError(f"{path}: expected one file per channel, found also {other.name}; remove one")
    return found


def ordered_channels(
    folder: Folder, channels: Mapping[str, Mapping[int, Path]], names: Sequence[str] | None
) -> dict[str, list[str]]:
    """Return the paths of each case in the order of the channels.

    Args:
        folder: the data set.
        channels: files by case and channel number, see `group_channels`.
        names: channel names; by default, the largest channel number determines the number of channels.

    Raises:
        InputError: if a case lacks a channel or has additional ones.
    """
    count = len(names) if names else max(1 + max(files) for files in channels.values())
    for case, files in channels.items():
        if sorted(files) != list(range(count)):
            lacking = ", ".join(f"{case}_{index:04d}" for index in range(count) if index not in files)
            more = ", ".join(path.name for index, path in files.items() if index >= count)
            expected = f"expected {count} channels of every case" + (f" ({', '.join(names)})" if names else "")
            raise InputError(
                f"dataset_dir {folder.root}: {expected}, found {f'none at {lacking}' if lacking else f'more: {more}'}; "
                "add the missing files, or move the case to another folder"
            )
    return {case: [str(files[index]) for index in range(count)] for case, files in channels.items()}


def label_folder(image: Path) -> Path:
    """Return the label folder of an image, such as labelsTr for imagesTr."""
    return image.parent.with_name(image.parent.name.replace("images", "labels"))


def label_of(image: Path) -> Path:
    """Return the path of the label map of an image, which may not exist."""
    name = strip_suffix(image.name)
    folder = label_folder(image)
    return folder / (_FILE.sub(r"\1", name) + image.name[len(name) :])
