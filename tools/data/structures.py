"""Values of structures in the label maps of a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tools.data.readers import Folder, find_reader
from tools.data.readers.dataset_file import describe_deeper
from tools.data.readers.volumes import VOLUMES
from tools.utils.errors import InputError

#: names of the parts of a brain tumour, as words that data sets use for them; of regions, what they have beyond others
TUMOUR_PARTS = {
    "edema": r"(peritumou?ral )?o?edema|ed|snfh|(whole.?tumou?r|wt) without .*",
    "core": r"(non.?enhancing|necro|ncr|net|core).*|(tumou?r.?core|tc) without .*",
    "enhancing": r"(gd.?)?enhanc.*|et",
}
RESECTION_CAVITY = r"resection.*|.*cavity|rc"


def read_labels(dataset_dir: str | Path, num_classes: int | None = None) -> dict[str, int]:
    """Stored value of every structure of a data set, by name, without the background.

    Args:
        dataset_dir: the folder.
        num_classes: number of classes, the background among them, where the folder does not say what they are.

    Raises:
        InputError: neither says, or they disagree.
    """
    folder = Folder.open(dataset_dir, "labelled volumes")
    root, found = folder.root, find_reader(folder, VOLUMES).labels()
    if found is None:
        if num_classes is None or num_classes < 2:
            raise InputError(
                f"dataset_dir {root}: expected a dataset.json that names the labels, such as "
                '{"labels": {"0": "background", "1": "pancreas"}}; without one say how many classes there are, the '
                "background among them: --num_classes 3" + describe_deeper(folder)
            )
        return {f"label_{value}": value for value in range(1, num_classes)}
    if num_classes is not None and num_classes != 1 + len(found):
        raise InputError(
            f"num_classes: expected {1 + len(found)} with the labels {found} of {root}, found {num_classes}"
        )
    return found


def brain_tumour_labels(dataset_dir: str | Path) -> dict[str, int]:
    """Stored values of "edema", "core" and "enhancing", which data sets number differently.

    The Decathlon's Task01 has 1 oedema, 2 core, 3 enhancing; for BraTS see `tools.data.readers.brats`.

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
