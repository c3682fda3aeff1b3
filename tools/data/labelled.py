"""Cases with a label map each, and what its values mean: Decathlon and BraTS folders, or images beside labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data import folders
from tools.data.brats import Brats, brats_structures, find_brats
from tools.data.cases import find_cases
from tools.data.msd import msd_labels, msd_structures, read_msd
from tools.utils.errors import InputError

LAYOUTS = (
    "a Medical Segmentation Decathlon folder (dataset.json), BraTS folders (…_flair/_t1/_t1ce/_t2/_seg.nii.gz or "
    "…-t2f/-t1n/-t1c/-t2w/-seg.nii.gz), or imagesTr beside labelsTr"
)
#: names of the parts of a brain tumour, as words that data sets use for them
TUMOUR_PARTS = {
    "edema": r"(peritumou?ral )?o?edema|ed|snfh",
    "core": r"(non.?enhancing|necro|ncr|net|core).*",
    "enhancing": r"(gd.?)?enhanc.*|et",
}
RESECTION_CAVITY = r"resection.*|.*cavity|rc"


def find_labelled_cases(dataset_dir: str | Path, channels: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """List the cases of a folder that have a label map, sorted by id.

    Args:
        dataset_dir: a folder in one of the layouts named by the error below.
        channels: as in `find_cases`.

    Returns:
        As `find_cases`, with the path of the label map under "label".

    Raises:
        InputError: as `find_cases`; also when no case has a label, or a dataset.json names a label that is missing.
    """
    root = folders.existing_folder(dataset_dir, "labelled volumes")
    cases = find_cases(root, channels)
    labels = _labels(root, cases)
    found = [case | {"label": str(labels[_image(case)])} for case in cases if _image(case) in labels]
    if not found:
        raise InputError(f"dataset_dir {root}: expected {LAYOUTS}; found {len(cases)} images and no label of any")
    without = [case["case"] for case in cases if _image(case) not in labels and "imagesTs" not in case["case"]]
    if without:
        print(f"note: {root}: {len(without)} images without a label are left out: {', '.join(without[:3])}")
    return found


def read_labels(dataset_dir: str | Path, num_classes: int | None = None) -> dict[str, int]:
    """Stored value of every structure of a data set, by name, without the background.

    Args:
        dataset_dir: the folder.
        num_classes: number of classes, the background among them, where the folder does not say what they are.

    Raises:
        InputError: neither says, or they disagree.
    """
    root = folders.existing_folder(dataset_dir, "labelled volumes")
    found = msd_structures(root)
    if found is None and (brats := _brats(root)) is not None:
        found = brats_structures(root, brats)
    if found is None:
        if num_classes is None or num_classes < 2:
            raise InputError(
                f"dataset_dir {root}: expected a dataset.json that names the labels, such as "
                '{"labels": {"0": "background", "1": "pancreas"}}; without one say how many classes there are, the '
                "background among them: --num_classes 3"
            )
        return {f"label_{value}": value for value in range(1, num_classes)}
    if num_classes is not None and num_classes != 1 + len(found):
        raise InputError(
            f"num_classes: expected {1 + len(found)} with the labels {found} of {root}, found {num_classes}"
        )
    return found


def brain_tumour_labels(dataset_dir: str | Path) -> dict[str, int]:
    """Stored values of "edema", "core" and "enhancing", which data sets number differently.

    The Decathlon's Task01 has 1 oedema, 2 core, 3 enhancing; BraTS see `brats_structures`.

    Raises:
        InputError: the data set names other structures.
    """
    found = read_labels(dataset_dir)
    values = {}
    for part, pattern in TUMOUR_PARTS.items():
        matches = _matching(found, pattern)
        if len(matches) != 1:
            raise InputError(
                f"dataset_dir {dataset_dir}: expected labels of oedema, tumour core without enhancement, and enhancing "
                f"tumour, found {found}"
            )
        values[part] = matches[0]
    if cavity := _matching(found, RESECTION_CAVITY):
        print(f"note: {dataset_dir}: label {cavity[0]}, the resection cavity, belongs to no region and is background")
    return values


def resection_cavity_values(dataset_dir: str | Path) -> list[int]:
    """Stored value of the resection cavity, empty for a data set without; it belongs to no region of BraTS."""
    return _matching(read_labels(dataset_dir), RESECTION_CAVITY)


def _matching(structures: Mapping[str, int], pattern: str) -> list[int]:
    return [value for name, value in structures.items() if re.fullmatch(pattern, name.lower().strip())]


def _labels(root: Path, cases: Sequence[dict[str, Any]]) -> dict[Path, Path]:
    """Label maps by image, whichever channels of a scan are used."""
    msd = read_msd(root)
    if msd is not None:
        return msd_labels(root, msd)
    brats = _brats(root)
    if brats is not None:
        return {file: scan["seg"] for scan in brats.scans.values() if "seg" in scan for file in scan.values()}
    found = {}
    for image in map(_image, cases):
        label = image.parent.with_name("labelsTr") / image.name
        if image.parent.name == "imagesTr" and label.is_file():
            found[image] = label
    _report_leftovers(root, found)
    return found


def _image(case: Mapping[str, Any]) -> Path:
    return Path(case["image"] if isinstance(case["image"], str) else case["image"][0])


def _brats(root: Path) -> Brats | None:
    return find_brats(root, (file for _, files in folders.walk(root, []) for file in files))


def _report_leftovers(root: Path, found: Mapping[Path, Path]) -> None:
    on_disk = {file for folder in root.glob("**/labelsTr") for file in folder.iterdir() if file.name[0] != "."}
    if left := sorted(file.name for file in on_disk - set(found.values())):
        print(f"note: {root}: {len(left)} labels without an image are left out: {', '.join(left[:3])}")
