"""Cases with grades, classes, malignancies or lesions instead of label maps."""

from __future__ import annotations

from pathlib import Path

from tools.data.cases import find_cases
from tools.data.readers import Case, Folder, complete_cases, find_reader
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
    """List the images of a folder that a table grades, sorted by case id; see `GradedImages` for the arguments.

    Returns:
        For each image ``{"case": id, "patient": id, "image": path, "label": grade}``. Without a column of patients,
        both eyes of a patient (``7_left``, ``7_right``) have one.

    Raises:
        InputError: no table or several; a column, image or grade that is missing or wrong, with the line.
    """
    folder = Folder.open(dataset_dir, "images with a table of grades")
    reader = GradedImages(folder, label_file, image_column, label_column, patient_column)
    return complete_cases(folder, reader.cases())


def find_classified_images(dataset_dir: str | Path) -> list[Case]:
    """List the images of a folder with a folder per class, sorted by case id; see `ClassFolders`.

    Returns:
        For each image ``{"case": id, "patient": id, "image": path, "class": name, "label": its place among the sorted
        names}``, and "part" ("training" or "validation") where the folders say.

    Raises:
        InputError: fewer than two classes, a class without images, or classes that differ between the parts.
    """
    folder = Folder.open(dataset_dir, "images in a folder per class")
    return complete_cases(folder, ClassFolders(folder).cases())


def find_labelled_images(dataset_dir: str | Path) -> list[Case]:
    """List images with a grade or class each under "label", see `find_graded_images` and `find_classified_images`.

    Raises:
        InputError: neither layout, or as these.
    """
    folder = Folder.open(dataset_dir, "images in a folder per class, or with a table of grades")
    return complete_cases(folder, find_reader(folder, LABELLED_IMAGES).cases())


def find_nodules(
    dataset_dir: str | Path,
    label_file: str | Path | None = None,
    image_column: str | None = None,
    patient_column: str | None = None,
    label_column: str | None = None,
) -> list[Case]:
    """List the nodules that are benign (label 0) or malignant (label 1), sorted by case id.

    Args:
        dataset_dir: a folder of crops with a table, see `LidcCrops`; or one with a MedMNIST file, or the file itself.
        label_file: see `LidcCrops`, as the further ones.
        image_column: column of nodules' names.
        patient_column: column of patients.
        label_column: column of malignancies.

    Returns:
        For each nodule ``{"case": id, "patient": id, "image": path, "label": 0 or 1}``. Those of a MedMNIST file also
        have "array" and "index", where in the file they are, and "part", theirs in the published split.

    Raises:
        InputError: neither layout; a column, file or malignancy that is missing or wrong, with the line.
    """
    folder = Folder.open(dataset_dir, "nodules", CROPS)
    crops = LidcCrops(folder, label_file, image_column, patient_column, label_column)
    one_file = not crops.has_table() and MedMnist.detect(folder)
    return complete_cases(folder, (MedMnist(folder) if one_file else crops).cases())


def find_crops(dataset_dir: str | Path) -> list[Case]:
    """List nodules without labels: the crops below a folder, or of a MedMNIST file; or a single crop.

    Returns:
        As `find_nodules`, without "label" and "part"; of crops the patient is the case.

    Raises:
        InputError: no npz files.
    """
    folder = Folder.open(dataset_dir, "nodules", CROPS)
    return complete_cases(folder, unlabelled_crops(folder))


def find_lesions(
    dataset_dir: str | Path, annotations: str | Path | None = None, skip_bad: bool | None = False
) -> list[Case]:
    """List the key slices of DeepLesion with their lesions, sorted by case id; see `DeepLesion`."""
    folder = Folder.open(dataset_dir, "DeepLesion images", listed=False)
    return sorted(DeepLesion(folder, annotations, skip_bad).cases(), key=lambda case: case["case"])


def find_detection_scans(dataset_dir: str | Path, annotations: str | Path | None = None) -> list[Case]:
    """List what lesions may be searched in: the key slices of a DeepLesion folder, else all volumes of a folder.

    Args:
        dataset_dir: the folder, or a single volume.
        annotations: see `DeepLesion`.

    Returns:
        As `find_lesions`, or as `find_cases` for volumes.

    Raises:
        InputError: see these.
    """
    root = Path(dataset_dir).expanduser()
    if annotations is not None or (root / TABLE).is_file():
        return find_lesions(dataset_dir, annotations, skip_bad=None)
    if root.is_dir() and DeepLesion.detect(Folder.open(dataset_dir, "volumes")):
        return find_lesions(dataset_dir, annotations, skip_bad=None)
    return find_cases(dataset_dir, include_label_maps=None)
