"""Check of the weights in a release.

By default the weights in ``models/`` are trained on generated phantoms. They are for tests only and excluded from
releases, unless ``metadata.json`` describes them::

    "weights": {"data": "…", "license": "…", "sha256": "…"}

The hash ties the description to one file, so that weights of a later run are not released with it. Weights that started
from published ones keep their licence: ``license`` must contain the licence of the card's ``origin``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.release.contents import WEIGHTS, large_files, read_json, read_metadata
from tools.transfer.origin import format_origin
from tools.utils.files import file_sha256

NEEDED = ("data", "license", "sha256")
GENERATED = re.compile(r"phantom|generated|synthetic", re.IGNORECASE)


def weights_note(bundle: Path) -> str:
    """Describe the weights of a release in one line."""
    described = read_metadata(bundle).get("weights")
    return f"weights trained on {described['data']}, licence {described['license']}" if described else "no weights"


def excluded_weights_note(bundle: Path) -> str:
    """Explain why existing weights are excluded from a release; empty otherwise."""
    if "weights" in read_metadata(bundle) or not (bundle / WEIGHTS[0]).exists():
        return ""
    return f": {WEIGHTS[0]} is excluded, since metadata.json has no entry 'weights'"


def weights_problems(bundle: Path) -> list[str]:
    """Compare the description in ``metadata.json`` with the weights and with their card, ``model.json``."""
    described = read_metadata(bundle).get("weights")
    if described is None:
        return []
    key = "configs/metadata.json: weights"
    missing = [name for name in NEEDED if not (isinstance(described, dict) and isinstance(described.get(name), str))]
    if missing:
        return [f"{key}: expected {', '.join(NEEDED)}, found no {', '.join(missing)}"]
    problems = []
    if GENERATED.search(described["data"]):
        problems.append(f"{key}: expected data of patients, found {described['data']!r}; such weights are not released")
    card = read_json(bundle / WEIGHTS[1])
    if not isinstance(card, dict):
        problems.append(f"{WEIGHTS[1]}: expected the card of the weights, found none")
    elif card.get("sha256") != described["sha256"]:
        problems.append(
            f"{key}: expected the sha256 of {WEIGHTS[1]}, {card.get('sha256')}, found {described['sha256']}"
        )
    else:
        problems += _origin_problems(card.get("origin"), described["license"])
    found = _hash(bundle)
    if found != described["sha256"]:
        problems.append(f"{WEIGHTS[0]}: expected sha256 {described['sha256']} of {key}, found {found}")
    return problems


def origin_license(bundle: Path) -> str | None:
    """Return the licence of the initial weights of released weights; None if unknown."""
    card = read_json(bundle / WEIGHTS[1]) if "weights" in read_metadata(bundle) else None
    return (card.get("origin") or {}).get("license") if isinstance(card, dict) else None


def _origin_problems(origin: Mapping[str, Any] | None, license: str) -> list[str]:
    """Check that the licence of the weights that a run started from is stated."""
    if not origin:
        return []
    if not origin.get("license"):
        return [
            f"{WEIGHTS[1]}: origin: expected the licence of {origin.get('file')}, from which training started, found "
            "none; find it out and add it as license"
        ]
    if _words(origin["license"]) not in _words(license):
        return [
            f"configs/metadata.json: weights.license: expected the licence of the weights that training started from, "
            f"{format_origin(origin)}, found {license!r}"
        ]
    return []


def _words(text: str) -> str:
    """Split a text into words, so that ``cc-by-sa-4.0`` equals ``CC BY-SA 4.0`` and MIT is not found in *limits*."""
    return f" {' '.join(re.findall(r'[a-z0-9]+(?:[.][a-z0-9]+)*', text.casefold()))} "


def _hash(bundle: Path) -> str | None:
    """Return the SHA-256 of the weights or from ``large_files.yml``; None without weights."""
    path = bundle / WEIGHTS[0]
    if path.exists():
        return file_sha256(path)
    return next((entry.get("hash_val") for entry in large_files(bundle) if entry.get("path") == WEIGHTS[0]), None)
