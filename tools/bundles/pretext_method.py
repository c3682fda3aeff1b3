"""Pretext methods: what the 2D and the 3D bundle of a method share, and the texts of their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.bundles.config import Config
from tools.bundles.keys import Key
from tools.bundles.metadata import tensor


@dataclass(frozen=True, kw_only=True)
class Method:
    """Pretext method, shared by its 2D and 3D bundle.

    Attributes:
        title: name of the method.
        objective: objective of pretraining, for metadata.
        description: description of the task, with ``{scan}`` and further `Pretext.substitutions`.
        accuracy: definition of the accuracy, with `Pretext.substitutions`; None for a task without accuracy, for which
            the lowest validation loss selects the model.
        references: papers in addition to Taleb et al. (see `taleb`).
        keys: keys of ``train.json`` with the defaults of both bundles.
        new_keys: descriptions of keys that are not in the registry.
        taleb: whether Taleb et al. is a reference of the method.
        task: component under ``train#task``.
        network: component of the network around the encoder.
        loss: component of the loss.
        handlers: handlers of the trainer by name, ``@train#method_handlers#<name>``. The checkpoint has the state of
            those with a ``state_dict``.
        standardised: whether each patch is standardised, in pretraining and for embeddings.
        isotropic: whether voxels must be isotropic, for example for rotations.
    """

    title: str
    objective: str
    description: str
    accuracy: str | None = None
    references: Sequence[str]
    keys: Config
    new_keys: Sequence[Key] = ()
    taleb: bool = True
    task: Config
    network: Config
    loss: Config
    handlers: Mapping[str, Config] = field(default_factory=dict)
    standardised: bool = False
    isotropic: bool = False


_VOLUMES = "NIfTI, NRRD, MHA or DICOM volumes; licences of the data: docs/data_license.txt"
#: texts of ``metadata.json`` by the number of dimensions
_TEXTS = {
    2: {
        "images": "photographs or slices",
        "scan": "an image",
        "data_source": "generated fundus photographs by default; any folder of PNG, JPEG, TIFF or BMP images, or "
        f"slices of {_VOLUMES}",
        "data_type": "jpeg, png, tiff, bmp; for slices nifti, nrrd, mha, dicom",
        "image_classes": "colour or grey photographs resized by their shorter edge, or slices of volumes resampled to "
        "isotropic voxels; each channel z-score normalised over its non-zero pixels, or a CT window mapped to -1 to 1",
        "tested": "16 generated fundus photographs (an earlier version)",
    },
    3: {
        "images": "volumes",
        "scan": "a volume",
        "data_source": f"generated brain phantoms by default; any folder of {_VOLUMES}",
        "data_type": "nifti, nrrd, mha, dicom",
        "image_classes": "single- or multi-channel volumes, resampled to isotropic voxels; each channel z-score "
        "normalised over its non-zero voxels, or a CT window mapped to -1 to 1",
        "tested": "5 generated heads (an earlier version)",
    },
}
_TALEB = "Taleb, A. et al. 3D Self-Supervised Methods for Medical Imaging. NeurIPS 2020."


def method_metadata(
    method: Method,
    spatial_dims: int,
    placeholders: Mapping[str, str],
    results: tuple[float, Sequence[float], float] | None,
) -> Config:
    """Return the metadata of a bundle.

    Args:
        method: pretext method of the bundle.
        spatial_dims: 2 or 3.
        placeholders: values of the placeholders in the texts of the method.
        results: see `tools.bundles.pretext.Pretext`.
    """
    texts = _TEXTS[spatial_dims]
    substitutions = {"scan": texts["scan"], **placeholders}
    is_2d = spatial_dims == 2
    modality, channels = ("fundus photograph", ["red", "green", "blue"]) if is_2d else ("MR", ["image"])
    references = [_TALEB, *method.references] if method.taleb else method.references
    return {
        "name": f"{method.title}, {spatial_dims}D",
        "task": f"Self-supervised pretraining of {spatial_dims}D encoders by {method.objective}",
        "description": f"Pretrains a {spatial_dims}D encoder on unlabelled {texts['images']}: "
        f"{method.description.format(**substitutions)}. "
        "The encoder transfers to segmentation, detection and classification.",
        **{key: texts[key] for key in ("data_source", "data_type", "image_classes")},
        "intended_use": "Research: initialisation of networks for tasks with few labels. Not for clinical decisions.",
        "eval_metrics": _scores(
            method, results, f"{texts['tested']} of the validation split, after the default run", substitutions
        ),
        "references": [reference.format(**substitutions) for reference in references],
        "network_data_format": {
            "inputs": {"image": tensor("image/magnitude", ["16*n"] * spatial_dims, channels, modality=modality)},
            "outputs": {"pred": tensor("latent/latent", ["n"] * spatial_dims, ["feature"], num_channels=256)},
        },
    }


def _scores(
    method: Method,
    results: tuple[float, Sequence[float], float] | None,
    data: str,
    substitutions: Mapping[str, str],
) -> Config:
    """Return the scores after the default run, for metadata."""
    if method.accuracy is None or results is None:
        return {"data": data}
    mean, interval, chance = results
    meaning = f"{data}; accuracy is {method.accuracy.format(**substitutions)}"
    return {"data": meaning, "accuracy": mean, "accuracy_interval_95": list(interval), "chance": chance}
