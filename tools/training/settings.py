"""Settings recorded in checkpoints and cards, and their comparison with the current settings."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.networks.norms import AUTO, parse_norm
from tools.transfer.card import equal_entries
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.files import file_sha256

logger = logging.getLogger(__name__)


#: settings that only affect training and may differ in evaluation
TRAINING_ONLY = frozenset(
    {"epochs", "batch_size", "accumulation_steps", "lr_warmup_epochs", "val_steps", "lr_schedule", "momentum"}
    | {"crop_scale"}
)


#: settings of the data, compared last, since they usually differ because of another setting
DATA_SETTINGS = ("cases", "validation_cases", "images", "annotations")


#: arguments of an optimizer that may change when a run is resumed
MUTABLE_OPTIMIZER_ARGUMENTS = frozenset({"lr", "weight_decay", "fused", "foreach", "capturable", "differentiable"})


def to_json_types(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with JSON types, for example lists instead of tuples."""
    return json.loads(json.dumps(dict(settings)))


def encoder_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `build_encoder` by the keys of a bundle.

    Args:
        arguments: `Encoder.arguments`, or the entry ``encoder`` of a card.

    Returns:
        ``encoder``, ``norm``, and every other argument with the prefix ``encoder_``.
    """
    names = {"name": "encoder", "norm": "norm"}
    return {names.get(key, f"encoder_{key}"): value for key, value in arguments.items()}


def optimizer_settings(optimizer: Optimizer) -> dict[str, Any]:
    """Return class and arguments of an optimizer, without those that may change when a run is resumed."""
    kept = {key: value for key, value in optimizer.defaults.items() if key not in MUTABLE_OPTIMIZER_ARGUMENTS}
    return {"optimizer": type(optimizer).__name__, **kept}


def data_settings(datasets: Sequence[CachedDataset | LazyDataset]) -> dict[str, Any]:
    """Return the ids of the validation cases, and digests of images and annotations.

    Args:
        datasets: training and validation cases.

    Returns:
        ``validation_cases``; ``images`` if all images have known hashes; ``annotations`` if cases have labels or
        boxes. The content of label maps is not included.
    """
    cases = [case for dataset in datasets for case in dataset.data]
    hashes = sorted(((one["case"], one["hashes"]) for part in datasets for one in part.hashes), key=lambda one: one[0])
    noted = [(case["case"], [case.get(key) for key in ("label", "boxes", "types")]) for case in cases]
    noted = sorted((case, values) for case, values in noted if any(not isinstance(v, str | None) for v in values))
    return {
        "validation_cases": sorted(one["case"] for one in datasets[1].data),
        **({"images": _digest(hashes)} if _are_known(found for _, found in hashes) else {}),
        **({"annotations": _digest(noted)} if noted else {}),
    }


def case_history(datasets: Mapping[str, CachedDataset | LazyDataset]) -> dict[str, Any]:
    """Return the entries of a card about the images of a run.

    Args:
        datasets: data sets by the name of their split.

    Returns:
        ``cases``: id, hashes and split of each image whose voxels were hashed, without those that cache "lazy" has not
        drawn yet. ``unknown_cases``: number of images that were streamed without hashes, if there are any.
    """
    cases = [one | {"split": part} for part, dataset in datasets.items() for one in dataset.hashes]
    unknown = sum(len(dataset) for dataset in datasets.values() if isinstance(dataset, LazyDataset))
    known = [one for one in cases if one["hashes"] is not None]
    return {"cases": known, **({"unknown_cases": unknown} if unknown else {})}


def content_digest(path: str | Path | None) -> str | None:
    """Return the first 16 digits of the SHA-256 of a file; the path itself if the file does not exist."""
    if path is None or not Path(path).is_file():
        return None if path is None else str(path)
    return file_sha256(path)[:16]


def compare_settings(source: str | Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those recorded in a checkpoint or card.

    Settings that are not recorded, as in files of earlier versions, are listed in a warning.

    Args:
        source: file of the recorded settings, for messages.
        recorded: recorded settings with JSON types.
        wanted: settings of this run with JSON types; only these are compared.

    Raises:
        InputError: if a setting differs.
    """
    last = {key: index for index, key in enumerate(DATA_SETTINGS)}
    for key in sorted(wanted, key=lambda key: last.get(key, -1)):
        if key in recorded and not _equal(key, recorded[key], wanted[key]):
            shown = ("other data", "the current data") if key in DATA_SETTINGS else (recorded[key], wanted[key])
            raise InputError(
                f"{key}: {source} was trained with {shown[0]}, found {shown[1]}; use the settings it was trained with"
            )
    unknown = [key for key in wanted if key not in recorded]
    if unknown and distributed.rank() == 0:
        used = ", ".join(f"{key} {wanted[key]}" for key in unknown if key not in DATA_SETTINGS)
        logger.warning(
            f"warning: {source} does not record {', '.join(unknown)}; not compared, current values: {used or '-'}"
        )


def _equal(key: str, one: Any, other: Any) -> bool:
    if key == "norm" and AUTO not in (one, other):  # names and (name, arguments) are equivalent
        return to_json_types({key: parse_norm(one)}) == to_json_types({key: parse_norm(other)})
    if key == "channels":
        names = [[name.lower() for name in names] for names in (one, other)]
        return names[0] == names[1] or {"image"} in map(set, names)  # unnamed channels match any name
    return equal_entries(key, one, other)


def _are_known(hashes: Iterable[Sequence[str] | None]) -> bool:
    """Return whether the voxels of all images were hashed, and some are not constant."""
    hashes = list(hashes)
    return None not in hashes and any(hashes)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
