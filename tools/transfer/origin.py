"""Origin of weights: source and licence of the weights that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.transfer.card import read_card
from tools.transfer.formats.checkpoint import read_checkpoint
from tools.transfer.formats.table import find_format
from tools.transfer.hub import describe_origin
from tools.utils.files import file_sha256


def read_origin(path: str | Path | None) -> dict[str, Any]:
    """Return the card's entry ``origin`` for a run that starts from a weights file.

    For weights of this project, the origin is copied from their card. For weights of another project, it has ``file``,
    ``format`` and ``sha256``, and if known ``license``, ``address``, ``revision`` and ``citations``.

    Args:
        path: weights file, or None for a run from scratch.

    Returns:
        ``{"origin": …}``; empty from scratch, or if all predecessors were trained from scratch.

    Raises:
        InputError: if the file cannot be read.
    """
    if path is None:
        return {}
    path = Path(path)
    card = read_card(path)
    if card:
        return _entry(card)
    checkpoint = read_checkpoint(path)
    own = checkpoint.content.get("card")
    if isinstance(own, Mapping):  # exported by this project
        return _entry(own)
    known = {key: checkpoint.content[key] for key in ("license", "citations") if checkpoint.content.get(key)}
    form = find_format(checkpoint).name
    return {
        "origin": {"file": path.name, "format": form, "sha256": file_sha256(path), **describe_origin(path), **known}
    }


def _entry(card: Mapping[str, Any]) -> dict[str, Any]:
    return {"origin": card["origin"]} if card.get("origin") else {}


def format_origin(origin: Mapping[str, Any]) -> str:
    """Format an origin in one line, as a release must state it."""
    return f"{origin.get('address') or origin['file']}, licence {origin.get('license', 'unknown')}"
