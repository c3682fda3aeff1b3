"""Model cards: JSON metadata of a weights file with encoder, labels and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.networks.encoders import encoder_key
from tools.transfer.export import card_path
from tools.utils.errors import InputError
from tools.utils.inputs import COUNT, DICTIONARY, NUMBER, POSITIVE, TEXT, Rule, check_fields, list_of, read_json
from tools.utils.renamed_keys import rename_settings

MAX_VALUE = 2**24  # largest integer that float32 label maps represent exactly


#: fields of a card that are used; others are kept as they are
CARD = {
    "sha256": TEXT,
    "encoder": {"name": TEXT, "in_channels?": COUNT, "spatial_dims?": COUNT},
    "cases?": [{"case": TEXT, "hashes": list_of(TEXT)}],
    "unknown_cases?": COUNT,
    "channels?": (list_of(TEXT),),
    "spacing?": (
        Rule("a number above 0 or a list of 3", lambda v: POSITIVE.contains(v) or list_of(POSITIVE, 3).contains(v)),
    ),
    "intensity?": (Rule("a dictionary, or text for people", lambda v: isinstance(v, dict | str)),),
    "labels?": (Rule("labels", lambda v: isinstance(v, dict | list)),),
    "roi_size?": list_of(COUNT),
    "patch_size?": list_of(COUNT),
    "slice_axis?": (COUNT,),
    "resize_shorter_edge?": (COUNT,),
    "epochs?": COUNT,
    "selected?": {"epoch?": COUNT, "threshold?": NUMBER},
}


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the card of a weights file, which does not need to exist.

    Args:
        path: path of the weights, ``model.pt``.

    Returns:
        The card, with the present names of keys; empty without ``model.json``.

    Raises:
        InputError: if the file is not a model card.
    """
    file = card_path(path)
    if not file.exists():
        return {}
    card = rename_settings(read_json(file, DICTIONARY, f"card of {Path(path).name}"))
    check_fields(file, card, CARD)
    check_fields(file, card_settings(card), {"hu_window?": (list_of(NUMBER, 2),)})
    return card


def card_settings(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a card by the names of a bundle's keys.

    Args:
        card: card from `read_card`.

    Returns:
        The entries, with ``encoder``, ``norm`` and ``in_channels`` from the encoder's arguments, and the entries of
        ``intensity``, such as ``hu_window``; empty for an empty card.
    """
    arguments = card.get("encoder", {})
    encoder = {key: arguments[key] for key in ("norm", "in_channels") if key in arguments}
    if arguments:
        encoder["encoder"] = encoder_key(arguments)
    intensity = card.get("intensity")
    return {**card, **encoder, **(intensity if isinstance(intensity, dict) else {})}


def match_labels(
    labels: Mapping[str, int], card: Mapping[str, Any] | None = None, same_values: bool = False
) -> dict[str, int]:
    """Sort labels by name into the order of a network's output channels.

    Args:
        labels: names to stored values, without the background.
        card: card of the network; without a card or labels in it, the order is kept.
        same_values: whether the stored values must equal the card's values, as for predicted label maps.

    Returns:
        Names to stored values, in the order of the card.

    Raises:
        InputError: if the values are not unique integers other than 0, or if the labels differ from the card.
    """
    trained = (card or {}).get("labels") and _checked("labels of model.json", card["labels"])
    found = _checked("labels", labels)
    if not trained:
        return found
    if found.keys() != trained.keys() or (same_values and found != trained):
        remedy = "omit labels, or pass these" if same_values else "use the same names"
        raise InputError(
            f"labels: expected {format_labels(trained)}, as in training, found {format_labels(found)}; {remedy}"
        )
    return {name: found[name] for name in trained}


def equal_entries(key: str, one: Any, other: Any) -> bool:
    """Return whether two entries of a card are the same; one number for ``spacing`` means three equal numbers."""
    if key == "spacing":
        one, other = ([value] * 3 if isinstance(value, (int, float)) else value for value in (one, other))
    return one == other


def format_labels(labels: Mapping[str, int]) -> str:
    """Format names and stored values in one line: ``edema 2, core 1, enhancing 4``."""
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def _checked(key: str, labels: Any) -> dict[str, int]:
    values = list(labels.values()) if isinstance(labels, Mapping) else []
    valid = all(type(value) is int and value != 0 and abs(value) <= MAX_VALUE for value in values)
    if not values or not valid or len(set(values)) < len(values):
        raise InputError(f"{key}: expected names with unique integers other than 0, found {labels!r}")
    return dict(labels)
