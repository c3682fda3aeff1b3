"""Model cards: the JSON beside a weights file, which names the encoder, the labels and the preparation of images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.transfer.export import contract_path
from tools.utils.errors import InputError

MAX_VALUE = 2**24  # label maps are read as float32, which holds larger numbers inexactly


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the card beside a weights file; the weights need not exist.

    Args:
        path: the weights file, ``model.pt``.

    Returns:
        The card, empty when there is no ``model.json``.

    Raises:
        InputError: the file is not the card of a network.
    """
    file = contract_path(path)
    if not file.exists():
        return {}
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        _ = card["sha256"][:16], card["encoder"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: expected the contract of {Path(path).name}, found {type(error).__name__} ({error})"
        ) from error
    return card


def card_settings(card: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a card under the names of a bundle's keys.

    Args:
        card: as `read_card` returns it.

    Returns:
        The entries, with ``encoder``, ``norm`` and ``in_channels`` from the encoder's arguments, and those of
        ``intensity``, such as ``hu_window``; empty for an empty card.
    """
    names = {"name": "encoder", "norm": "norm", "in_channels": "in_channels"}
    encoder = {names[key]: value for key, value in card.get("encoder", {}).items() if key in names}
    return {**card, **encoder, **(card.get("intensity") or {})}


def match_labels(
    labels: Mapping[str, int], card: Mapping[str, Any] | None = None, same_values: bool = False
) -> dict[str, int]:
    """Bring labels into the order of a network's output channels, by name.

    Args:
        labels: stored value by name, without the background.
        card: card of the network; without labels in it, or None, the order stays.
        same_values: require the stored values of the card too, as for label maps that are written.

    Returns:
        Stored value by name, in the order of the card.

    Raises:
        InputError: values that are not whole numbers, each once and none 0; labels that contradict the card.
    """
    trained = (card or {}).get("labels") and _checked("labels of model.json", card["labels"])
    found = _checked("labels", labels)
    if not trained:
        return found
    if found.keys() != trained.keys() or (same_values and found != trained):
        remedy = "leave labels out, or give those" if same_values else "name them alike"
        raise InputError(
            f"labels: expected {spell_labels(trained)}, with which the network was trained, found "
            f"{spell_labels(found)}; {remedy}"
        )
    return {name: found[name] for name in trained}


def equal_entries(key: str, one: Any, other: Any) -> bool:
    """Whether two entries of a card are the same; one number for ``spacing`` stands for three equal ones."""
    if key == "spacing":
        one, other = ([value] * 3 if isinstance(value, (int, float)) else value for value in (one, other))
    return one == other


def spell_labels(labels: Mapping[str, int]) -> str:
    """Names and stored values in one line: ``edema 2, core 1, enhancing 4``."""
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def _checked(key: str, labels: Any) -> dict[str, int]:
    values = list(labels.values()) if isinstance(labels, Mapping) else []
    whole = all(type(value) is int and value != 0 and abs(value) <= MAX_VALUE for value in values)
    if not values or not whole or len(set(values)) < len(values):
        raise InputError(f"{key}: expected names with a whole number other than 0 each, each once, found {labels!r}")
    return dict(labels)
