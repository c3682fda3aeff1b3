"""MONAI Label tasks of downstream bundles: inference with checked weights, and training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Lambdad, ScaleIntensityRanged
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from tools.classification.ordinal import grade_probabilities
from tools.data.formats.nifti import copy_geometry
from tools.transforms.geometry import CheckedSpacingd
from tools.transforms.volume import LoadVolumed
from tools.transforms.window import CheckWindowd
from tools.utils.errors import InputError, find_input_error

#: types of the supported bundles
TYPES = {
    "brats": InferType.SEGMENTATION,
    "hippocampus": InferType.SEGMENTATION,
    "pancreas": InferType.SEGMENTATION,
    "deeplesion": InferType.DETECTION,
    "fundus": InferType.CLASSIFICATION,
    "lidc": InferType.CLASSIFICATION,
}

HU_WINDOW = (-1000.0, 400.0)  # HU mapped to 0 and 255, as in the phantoms


def read_inference(folder: Path) -> ConfigParser:
    """Read the ``inference.json`` of a bundle."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    parser["bundle_root"] = str(folder)
    return parser


def served_labels(folder: Path) -> dict[str, int]:
    """Return the stored values of a segmentation bundle's labels, from the card of its weights; empty for others."""
    return (
        read_inference(folder).get_parsed_content("trained_labels")
        if TYPES[folder.name] == InferType.SEGMENTATION
        else {}
    )


def check_model(folder: Path) -> None:
    """Load the weights of a bundle as in inference.

    Raises:
        InputError: if the weights are missing, of another network, or trained with other settings.
    """
    try:
        parser = read_inference(folder)
        parser["device"] = "cpu"
        parser.get_parsed_content("handlers#0#model").load(None)
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        raise InputError(f"{folder.name}: {found}") from None


class CheckedInferTask(BundleInferTask):
    """MONAI Label's inference task with label names, which checks weights whenever they have changed.

    Args:
        folder: folder of the bundle.
        conf: configuration of the server.
        labels: names to numbers.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str], labels: Mapping[str, int]) -> None:
        self.folder = folder
        self.checked: float | None = None
        kind = TYPES[folder.name]
        restore = kind == InferType.SEGMENTATION  # removes the channel axis
        super().__init__(str(folder), conf, type=kind, add_post_restore=restore, load_strict=True)
        self.labels = dict(labels)
        self.config().pop("model_filename")  # it lists all files of models/, also checkpoints

    def _get_network(self, device: str, data: Any) -> torch.nn.Module:
        written = os.stat(self.get_path()).st_mtime
        if written != self.checked:
            check_model(self.folder)
            self.checked = written
            self.bundle_config.parse(True)  # updates the labels from the card
            self.labels = served_labels(self.folder) or self.labels
        return super()._get_network(device, data)

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, Any]:
        """Write the result; a NIfTI label map has the geometry of its scan."""
        path, result = super().writer(data, extension, dtype)
        if self.type == InferType.SEGMENTATION and str(path).endswith((".nii", ".nii.gz")):
            copy_geometry(path, data["image_path"])
        return path, result


class ClassificationTask(CheckedInferTask):
    """Classification task with a probability per label; nodules may also be NIfTI crops of CT in Hounsfield units.

    Args:
        folder: folder of the bundle.
        conf: configuration of the server.
        labels: names of the classes in order.
        probabilities: function from logits (1, C) to probabilities (1, classes).
    """

    def __init__(
        self,
        folder: Path,
        conf: Mapping[str, str],
        labels: Sequence[str],
        probabilities: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(folder, conf, {label: number for number, label in enumerate(labels)})
        self.probabilities = probabilities

    def pre_transforms(self, data: Mapping[str, Any]) -> list[Callable[..., Any]]:
        """Return the bundle's transforms, with another loader for NIfTI crops."""
        steps = list(super().pre_transforms(data))
        if self.folder.name != "lidc" or str(data["image"]).endswith(".npz"):
            return steps
        scale = ScaleIntensityRanged("image", *HU_WINDOW, 0.0, 255.0, clip=True)
        check = CheckWindowd("image", HU_WINDOW, inference=True, adjustable=False)
        return [LoadVolumed(), CheckedSpacingd("image", (1.0, 1.0, 1.0)), check, scale, *steps[1:]]

    def post_transforms(self, data: Any = None) -> list[Callable[..., Any]]:
        """Return the transform from logits to probabilities."""
        return [Lambdad("pred", lambda logits: MetaTensor(self.probabilities(logits.as_tensor()[None].float())[0]))]


def binary_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (B, 2) of both classes of logits (B, 1)."""
    return torch.cat([-logits, logits], 1).sigmoid()


def infer_task(folder: Path, conf: Mapping[str, str]) -> CheckedInferTask:
    """Build the inference task of a bundle."""
    if folder.name == "fundus":
        return ClassificationTask(folder, conf, [f"grade {grade}" for grade in range(5)], grade_probabilities)
    if folder.name == "lidc":
        return ClassificationTask(folder, conf, ["benign", "malignant"], binary_probabilities)
    return CheckedInferTask(folder, conf, served_labels(folder) or {"lesion": 0})


class StrictTrainTask(BundleTrainTask):
    """MONAI Label's training task, which continues from ``model.pt`` only and uses the labels of inference."""

    def config(self) -> dict[str, Any]:
        """Return the options of a viewer."""
        return {key: value for key, value in super().config().items() if key != "model_filename"}

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        folder = Path(self.bundle_path)
        overrides["labels"] = served_labels(folder)  # labels of the studies, not of `dataset_dir`
        overrides["models_dir"] = str(folder / "models")  # from which inference reads
        return overrides
