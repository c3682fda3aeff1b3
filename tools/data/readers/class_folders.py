"""Reader of images in one folder per class, as in ImageNet, with or without folders for splits."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tools.data.readers.base import IMAGE_SUFFIXES, OUTPUT, Case, Folder, Reader, count_suffixes, is_hidden
from tools.data.readers.label_maps import NAMED
from tools.data.readers.masks import masks_beside_images
from tools.data.readers.patients import join_cases
from tools.utils.errors import InputError

LABELLED_IMAGES = "labelled images"
TRAINING, VALIDATION, TEST = "training", "validation", "test"
#: split by folder name in lower case
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "validation", "valid"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
MAX_NAMED = 5


class _Tree(NamedTuple):
    """Images by class in each split ("" without splits), and the folder of each split."""

    images: dict[str, dict[str, list[Path]]]
    places: dict[str, Path]


class ClassFolders(Reader):
    """Images in one folder per class.

    The layout is ``<class>/…``, or ``train/<class>/…`` with or without ``val`` and ``test``. Images can be in
    subfolders. A folder ``train`` that directly contains images, next to other folders, is a class. Test images are not
    used.

    Args:
        folder: the data set.
    """

    kind = LABELLED_IMAGES
    layout = "images in a folder per class, or in train/<class> and val/<class>"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there are at least two class folders with images."""
        return any(len(classes) > 1 for classes in cls(folder)._tree.images.values())

    def labels(self) -> dict[str, int]:
        """Return the index of each class in the sorted names."""
        names = {name for part, classes in self._tree.images.items() if part != TEST for name in classes}
        return {name: label for label, name in enumerate(sorted(names))}

    def cases(self) -> list[Case]:
        """List the images with "class", its index under "label", and "split" if there is a validation folder.

        Raises:
            InputError: if there are fewer than two classes, a class has no images, or the classes of the splits differ.
        """
        parts, labels = self._tree.images, self.labels()
        self._check(labels)
        used = [part for part in parts if part != TEST]
        self.folder.ignore("test images", (file for files in parts.get(TEST, {}).values() for file in files))
        patients = self._patients({one: name for part in used for name, files in parts[part].items() for one in files})
        return [
            {"case": self.folder.case_id(file), "patient": patients[file], "image": str(file)}
            | {"class": name, "label": labels[name]}
            | ({"split": part} if len(used) > 1 else {})
            for part in used
            for name, files in parts[part].items()
            for file in files
        ]

    def _patients(self, files: Mapping[Path, str]) -> dict[Path, str]:
        """Return the patient of each image, independent of class names.

        Both eyes of a patient may be in different classes. Equal file names in two classes are different patients.
        """
        inside = {}
        for file, name in files.items():
            rest = f"/{self.folder.case_id(file)}".partition(f"/{name}/")[2]
            inside[file] = re.sub(rf"(^|/){re.escape(name)}[\W_]+(?=\w)", r"\1", rest)
        found = join_cases(list(dict.fromkeys(inside.values())))
        return {file: self.folder.case_id(file) if found[one] == one else found[one] for file, one in inside.items()}

    def _check(self, labels: dict[str, int]) -> None:
        root, (images, places) = self.folder.root, self._tree
        if TRAINING in images and VALIDATION in images and images[TRAINING].keys() != images[VALIDATION].keys():
            apart = ", ".join(sorted(images[TRAINING].keys() ^ images[VALIDATION].keys())[:MAX_NAMED])
            raise InputError(
                f"dataset_dir {root}: expected the same classes in training and validation, found only in one: {apart}"
            )
        if len(labels) > 1 and {name.lower() for name in labels} <= SPLIT_FOLDERS.keys():
            raise InputError(
                f"dataset_dir {root}: expected at least 2 classes in one folder each, also in train, found only the "
                f"splits {', '.join(labels)}; move the training images to train/<class>"
            )
        if len(labels) < 2:
            found = f"{len(labels)} ({', '.join(labels) or self.folder.describe()})"
            raise InputError(f"dataset_dir {root}: expected at least 2 classes in one folder each, found {found}")
        outputs = {name.split("/")[0] for name in self.folder.ignored.get(OUTPUT, ())}
        for part, place in places.items():
            for entry in sorted(os.scandir(place), key=lambda one: one.name):
                known = entry.name in images[part] or entry.name in outputs or is_hidden(entry.name)
                if part != TEST and not known and entry.is_dir():
                    self._refuse_empty(Path(entry.path))

    def _refuse_empty(self, place: Path) -> None:
        names = [file.name for file in self.folder.files if file.is_relative_to(place)]
        raise InputError(
            f"{place}: expected images of a class ({', '.join(IMAGE_SUFFIXES)}), found "
            f"{', '.join(count_suffixes(names)) or 'no files'}"
        )

    @cached_property
    def _tree(self) -> _Tree:
        tops: dict[str, list[tuple[str, Path]]] = defaultdict(list)
        masks = set(masks_beside_images(self.folder, self.folder.images))
        self.folder.ignore(NAMED, masks)
        for file in (one for one in self.folder.images if one not in masks):
            top, _, rest = self.folder.relative(file).partition("/")
            tops[top if rest else ""].append((rest, file))
        outside = tops.pop("", [])
        parts = _part_folders(tops)
        if not parts:
            self.folder.ignore("images outside a class folder", (file for _, file in outside))
            classes = {top: [file for _, file in members] for top, members in tops.items()}
            return _Tree({"": classes}, {"": self.folder.root})
        images: dict[str, dict[str, list[Path]]] = {part: defaultdict(list) for part in parts}
        for part, top in parts.items():
            for rest, file in tops.pop(top):
                name, _, inner = rest.partition("/")
                images[part][name].append(file) if inner else outside.append((rest, file))
        outside += [one for members in tops.values() for one in members]
        self.folder.ignore("images outside a class folder", (file for _, file in outside))
        return _Tree(images, {part: self.folder.root / top for part, top in parts.items()})


def _part_folders(tops: dict[str, list[tuple[str, Path]]]) -> dict[str, str]:
    """Return the folder of each split; empty if the folders are classes.

    A training folder contains class folders, and is next to another split or the only folder.
    """
    parts = {SPLIT_FOLDERS[top.lower()]: top for top in sorted(tops, reverse=True) if top.lower() in SPLIT_FOLDERS}
    nested = TRAINING in parts and any("/" in rest for rest, _ in tops[parts[TRAINING]])
    return parts if nested and (len(parts) > 1 or len(tops) == 1) else {}
