"""Reader of MedMNIST 3D: all crops of a data set in one npz file, with the published split."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tools.data.formats.npz import array_names, array_shape, read_array
from tools.data.readers.base import Case, Folder, Reader
from tools.data.readers.matching import join_some
from tools.utils.errors import InputError

NODULES = "nodules"
PARTS = {"train": "training", "val": "validation", "test": "test"}


class MedMnist(Reader):
    """File such as ``nodulemnist3d.npz`` with "train_images" (N, D, H, W), "train_labels" (N, 1) and so on.

    Args:
        folder: the data set.
    """

    kind = NODULES
    layout = "a MedMNIST file (npz with train_images and train_labels)"
    names: ClassVar[dict[str, int]] = {"benign": 0, "malignant": 1}

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether there is such a file."""
        return bool(cls(folder)._files)

    def labels(self) -> dict[str, int]:
        """Return the labels by name."""
        return dict(self.names)

    def cases(self) -> list[Case]:
        """List the crops with "array" and "index" (position in the file), "label", and "split" (published split).

        Raises:
            InputError: if there are several files, an array is missing or has a wrong size, or labels are not 0 or 1.
        """
        if len(self._files) != 1:
            found = join_some([file.name for file in self._files]) or "none"
            raise InputError(
                f"dataset_dir {self.folder.root}: expected one MedMNIST file, found {found}; set dataset_dir to one"
            )
        [path] = self._files
        cases: list[Case] = []
        for name, part in PARTS.items():
            for index, label in enumerate(_labels(path, name)):
                case = f"{name}_{index:05d}"
                place = {"image": str(path), "array": f"{name}_images", "index": index}
                cases.append({"case": case, "patient": case, **place, "label": label, "split": part})
        print(f"warning: {path}: patients are unknown, so a patient may be in the training and the test set")
        return cases

    @cached_property
    def _files(self) -> list[Path]:
        return [file for file in self.folder.with_suffix(".npz") if _is_collection(file)]


def _is_collection(path: Path) -> bool:
    try:
        return {"train_images", "train_labels"} <= set(array_names(path))
    except InputError:  # damaged files are reported by the preprocessing
        return False


def _labels(path: Path, name: str) -> list[int]:
    labels = read_array(path, f"{name}_labels")
    if labels.size != len(labels) or not labels.size:
        raise InputError(f"{path}: expected {name}_labels of size (N, 1), found {labels.shape}")
    labels = labels.ravel()
    for index, label in enumerate(labels):
        if label not in (0, 1):
            raise InputError(f"{path}: expected 0 (benign) or 1 (malignant) in {name}_labels[{index}], found {label}")
    shape = array_shape(path, f"{name}_images")
    if len(shape) != 4 or shape[0] != len(labels):
        raise InputError(f"{path}: expected {name}_images of size ({len(labels)}, D, H, W), found {shape}")
    return [int(label) for label in labels]
