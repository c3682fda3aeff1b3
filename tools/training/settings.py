"""Settings that a checkpoint records, and their comparison with those of a run that continues or evaluates it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.networks.norms import AUTO, parse_norm
from tools.transfer.card import equal_entries
from tools.utils import distributed
from tools.utils.errors import InputError

logger = logging.getLogger(__name__)


#: settings that act in training only; a checkpoint can be evaluated with other values
TRAINING_ONLY = frozenset(
    {"epochs", "batch_size", "accumulation_steps", "warmup_epochs", "validation_steps", "schedule", "momentum"}
    | {"crop_area"}
)


#: what a run is trained on; compared last, because another setting is the usual reason for other data
DATA_SETTINGS = ("cases", "validation_cases", "images", "annotations")


#: arguments of an optimizer that may change when a run is resumed: its rates, and how the update is computed
FREE_OPTIMIZER_ARGUMENTS = frozenset({"lr", "weight_decay", "fused", "foreach", "capturable", "differentiable"})


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON returns them: tuples become lists."""
    return json.loads(json.dumps(dict(settings)))


def encoder_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `build_encoder` under the names of a bundle's keys.

    Args:
        arguments: `Encoder.arguments`, or the entry ``encoder`` of a contract.

    Returns:
        ``encoder``, ``norm``, and every other argument with the prefix ``encoder_``.
    """
    names = {"name": "encoder", "norm": "norm"}
    return {names.get(key, f"encoder_{key}"): value for key, value in arguments.items()}


def optimizer_settings(optimizer: Optimizer) -> dict[str, Any]:
    """Class of an optimizer and its arguments, without those that may change when a run is resumed."""
    kept = {key: value for key, value in optimizer.defaults.items() if key not in FREE_OPTIMIZER_ARGUMENTS}
    return {"optimizer": type(optimizer).__name__, **kept}


def data_settings(datasets: Sequence[CachedDataset | LazyDataset]) -> dict[str, Any]:
    """Ids of the validation cases, and digests of images and annotations.

    Args:
        datasets: training and validation cases.

    Returns:
        ``validation_cases``; ``images``, unless no image was hashed; ``annotations``, if cases have labels or boxes.
        The content of label maps is not compared.
    """
    cases = [case for dataset in datasets for case in dataset.data]
    hashes = sorted((one["case"], one["hashes"]) for dataset in datasets for one in dataset.hashes)
    noted = [(case["case"], [case.get(key) for key in ("label", "boxes", "types")]) for case in cases]
    noted = sorted((case, values) for case, values in noted if any(not isinstance(v, str | None) for v in values))
    return {
        "validation_cases": sorted(one["case"] for one in datasets[1].hashes),
        **({"images": _digest(hashes)} if any(found for _, found in hashes) else {}),
        **({"annotations": _digest(noted)} if noted else {}),
    }


def content_digest(path: str | None) -> str | None:
    """Beginning of the SHA-256 of a file, whatever its name; the path of a missing one."""
    if path is None or not Path(path).is_file():
        return path
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def compare_settings(source: str | Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those a checkpoint or a network was trained with.

    A setting that `recorded` lacks, as files of earlier versions do, is not a difference; one line lists such settings.

    Args:
        source: the file the settings come from, for messages.
        recorded: settings by name, as JSON returns them.
        wanted: those of this run, likewise; no other settings are compared.

    Raises:
        InputError: for the first setting that differs.
    """
    last = {key: place for place, key in enumerate(DATA_SETTINGS)}
    for key in sorted(wanted, key=lambda key: last.get(key, -1)):
        if key in recorded and not _equal(key, recorded[key], wanted[key]):
            shown = ("other ones", "these") if key in DATA_SETTINGS else (recorded[key], wanted[key])
            raise InputError(
                f"{key}: {source} was trained with {shown[0]}, found {shown[1]}; use the settings it was trained with"
            )
    unknown = [key for key in wanted if key not in recorded]
    if unknown and distributed.rank() == 0:
        used = ", ".join(f"{key} {wanted[key]}" for key in unknown if key not in DATA_SETTINGS)
        logger.warning(
            f"warning: {source} does not record {', '.join(unknown)}; not compared, used here: {used or '-'}"
        )


def _equal(key: str, one: Any, other: Any) -> bool:
    if key == "norm" and AUTO not in (one, other):  # a word stands for a name with arguments
        return plain({key: parse_norm(one)}) == plain({key: parse_norm(other)})
    if key == "channels":
        names = [[name.lower() for name in names] for names in (one, other)]
        return names[0] == names[1] or {"image"} in map(set, names)  # a folder need not name its channels
    return equal_entries(key, one, other)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
