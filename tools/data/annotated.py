"""Cases with image-level labels or lesion boxes instead of label maps."""

from __future__ import annotations

from pathlib import Path

from tools.data.cases import find_cases
from tools.data.readers import Case, Folder, finalise_cases, find_reader
from tools.data.readers.class_folders import LABELLED_IMAGES, ClassFolders
from tools.data.readers.deeplesion import TABLE, DeepLesion
from tools.data.readers.graded_images import GradedImages
from tools.data.readers.lidc import LidcCrops, unlabelled_crops
from tools.data.readers.medmnist import MedMnist

CROPS = (".npz",)


def find_graded_images(
    dataset_dir: str | Path,
    label_file: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    patient_column: str | None = None,
) -> list[Case]:
    """List images with grades from a table, sorted by case id; see `GradedImages` for the arguments.

    Returns:
        For each image ``{"case": id, "patient": id, "image": path, "label": grade}``. Without a patient column, the
        patient follows from the file name: ``7_left`` and ``7_right`` are one patient.

    Raises:
        InputError: if there is no table or more than one, or a column, image or grade is missing or invalid.
    """
    folder = Folder.open(dataset_dir, "images with a table of grades")
    reader = GradedImages(folder, label_file, image_column, label_column, patient_column)
    return finalise_cases(folder, reader.cases())


def find_classified_images(dataset_dir: str | Path) -> list[Case]:
    """List images in one folder per class, sorted by case id; see `ClassFolders`.

    Returns:
        For each image ``{"case": id, "patient": id, "image": path, "class": name, "label": index of the sorted class
        names}``, and "split" ("training" or "validation") if there are folders for both.

    Raises:
        InputError: if there are fewer than two classes, a class has no images, or the classes of both splits differ.
    """
    folder = Folder.open(dataset_dir, "images in a folder per class")
    return finalise_cases(folder, ClassFolders(folder).cases())


def find_labelled_images(dataset_dir: str | Path) -> list[Case]:
    """List images with a grade or class under "label"; see `find_graded_images` and `find_classified_images`.

    Raises:
        InputError: if the folder has neither layout, and as these functions.
    """
    folder = Folder.open(dataset_dir, "images in a folder per class, or with a table of grades")
    return finalise_cases(folder, find_reader(folder, LABELLED_IMAGES).cases())


def find_nodules(
    dataset_dir: str | Path,
    label_file: str | Path | None = None,
    image_column: str | None = None,
    patient_column: str | None = None,
    label_column: str | None = None,
) -> list[Case]:
    """List benign (label 0) and malignant (label 1) nodules, sorted by case id.

    Args:
        dataset_dir: folder of crops with a table (see `LidcCrops`), folder with a MedMNIST file, or the file itself.
        label_file: table of malignancies, see `LidcCrops`.
        image_column: column of nodule names.
        patient_column: column of patients.
        label_column: column of malignancies.

    Returns:
        For each nodule ``{"case": id, "patient": id, "image": path, "label": 0 or 1}``. Nodules of a MedMNIST file also
        have "array" and "index" (the position in the file) and "split" (the subset in the published split).

    Raises:
        InputError: if the folder has neither layout, or a column, file or malignancy is missing or invalid.
    """
    folder = Folder.open(dataset_dir, "nodules", CROPS)
    crops = LidcCrops(folder, label_file, image_column, patient_column, label_column)
    one_file = not crops.has_table() and MedMnist.detect(folder)
    return finalise_cases(folder, (MedMnist(folder) if one_file else crops).cases())


def find_unlabelled_nodules(dataset_dir: str | Path) -> list[Case]:
    """List nodules without labels: the crops in a folder, the crops of a MedMNIST file, or a single crop.

    Returns:
        As `find_nodules`, without "label" and "split". Each crop is its own patient.

    Raises:
        InputError: if there are no npz files.
    """
    folder = Folder.open(dataset_dir, "nodules", CROPS)
    return finalise_cases(folder, unlabelled_crops(folder))


def find_lesions(
    dataset_dir: str | Path, annotations: str | Path | None = None, skip_bad: bool | None = False
) -> list[Case]:
    """List the key slices of DeepLesion with their lesions, sorted by case id; see `DeepLesion`."""
    folder = Folder.open(dataset_dir, "DeepLesion images", listed=False)
    return sorted(DeepLesion(folder, annotations, skip_bad).cases(), key=lambda case: case["case"])


def find_detection_scans(dataset_dir: str | Path, annotations: str | Path | None = None) -> list[Case]:
    """List the images for lesion detection: key slices of a DeepLesion folder, otherwise all volumes of a folder.

    Args:
        dataset_dir: folder, or a single volume.
        annotations: see `DeepLesion`.

    Returns:
        As `find_lesions` for DeepLesion, as `find_cases` for volumes.

    Raises:
        InputError: as these functions.
    """
    root = Path(dataset_dir).expanduser()
    if annotations is not None or (root / TABLE).is_file():
        return find_lesions(dataset_dir, annotations, skip_bad=None)
    if root.is_dir() and DeepLesion.detect(Folder.open(dataset_dir, "volumes")):
        return find_lesions(dataset_dir, annotations, skip_bad=None)
    return find_cases(dataset_dir, include_label_maps=None)
