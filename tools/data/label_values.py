"""Label names and values of segmentation data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tools.data.readers import Folder, find_reader
from tools.data.readers.dataset_file import nested_dataset_hint
from tools.data.readers.volumes import VOLUMES
from tools.utils.errors import InputError

#: label names of brain tumour data sets (regular expressions), also for nested regions
TUMOUR_LABELS = {
    "edema": r"(peritumou?ral )?o?edema|ed|snfh|(whole.?tumou?r|wt) without .*",
    "core": r"(non.?enhancing|necro|ncr|net|core).*|(tumou?r.?core|tc) without .*",
    "enhancing": r"(gd.?)?enhanc.*|et",
}
RESECTION_CAVITY = r"resection.*|.*cavity|rc"


def read_labels(
    dataset_dir: str | Path, num_classes: int | None = None, default: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return the label values of a data set by name, without the background.

    Args:
        dataset_dir: folder.
        num_classes: number of classes including the background; required if the folder has no label names and there is
            no `default`.
        default: label values by name of a folder without label names, if `num_classes` is None.

    Raises:
        InputError: if the labels are unknown, or `num_classes` does not match them.
    """
    folder = Folder.open(dataset_dir, "labelled volumes")
    root, found = folder.root, find_reader(folder, VOLUMES).labels()
    if found is None:
        if num_classes is None and default:
            return dict(default)
        if num_classes is None or num_classes < 2:
            raise InputError(
                f"dataset_dir {root}: expected a dataset.json that names the labels, such as "
                '{"labels": {"0": "background", "1": "pancreas"}}; or set the number of classes including the '
                "background: --num_classes 3" + nested_dataset_hint(folder)
            )
        return {f"label_{value}": value for value in range(1, num_classes)}
    if num_classes is not None and num_classes != 1 + len(found):
        raise InputError(
            f"num_classes: expected {1 + len(found)} with the labels {found} of {root}, found {num_classes}"
        )
    return found


def brain_tumour_labels(dataset_dir: str | Path) -> dict[str, int]:
    """Return the label values of "edema", "core" and "enhancing", which differ between data sets.

    The Decathlon's Task01 has 1 oedema, 2 core and 3 enhancing. For BraTS, see `tools.data.readers.brats`.

    Raises:
        InputError: if the data set has other labels.
    """
    found = read_labels(dataset_dir)
    values = {}
    for part, pattern in TUMOUR_LABELS.items():
        matches = _matching(found, pattern)
        if len(matches) != 1:
            raise InputError(
                f"dataset_dir {dataset_dir}: expected labels of oedema, tumour core without enhancement, and enhancing "
                f"tumour, found {found}"
            )
        values[part] = matches[0]
    if cavity := _matching(found, RESECTION_CAVITY):
        print(f"note: {dataset_dir}: label {cavity[0]}, the resection cavity, is treated as background")
    return values


def resection_cavity_values(dataset_dir: str | Path) -> list[int]:
    """Return the label values of the resection cavity, which is not part of a BraTS region; empty without one."""
    return _matching(read_labels(dataset_dir), RESECTION_CAVITY)


def _matching(labels: Mapping[str, int], pattern: str) -> list[int]:
    return [value for name, value in labels.items() if re.fullmatch(pattern, name.lower().strip())]
