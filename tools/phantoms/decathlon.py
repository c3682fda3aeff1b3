"""The ``dataset.json`` of a generated set in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def write_dataset_json(
    folder: Path, name: str, modalities: Sequence[str], labels: Sequence[str], files: Sequence[str]
) -> None:
    """Write the list of images and labels, and make their folders.

    Args:
        folder: the data set's folder.
        name: of the task.
        modalities: of the channels.
        labels: of the values, from 0 on.
        files: names of the image files; labels have the same.
    """
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir()
    content = {
        "name": name,
        "description": "generated phantoms in the layout of the Medical Segmentation Decathlon",
        "modality": {str(i): modality for i, modality in enumerate(modalities)},
        "labels": {str(i): label for i, label in enumerate(labels)},
        "numTraining": len(files),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"} for file in files],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
