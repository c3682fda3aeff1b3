"""When weights may be given away.

Whoever runs a bundle finds weights in ``models/``, by default trained on generated phantoms: good for tests, worthless
on patients. So a release leaves them out, unless ``metadata.json`` says what they are::

    "weights": {"data": "…", "license": "…", "sha256": "…"}

The hash ties the statement to one file: weights of a later run are not shipped under an earlier run's words.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tools.release.contents import WEIGHTS, large_files, read_json, read_metadata

NEEDED = ("data", "license", "sha256")
GENERATED = re.compile(r"phantom|generated|synthetic", re.IGNORECASE)


def weights_note(bundle: Path) -> str:
    """Say in one line whether a release holds weights; what else lies in ``models/`` changes nothing."""
    said = read_metadata(bundle).get("weights")
    return f"weights trained on {said['data']}, licence {said['license']}" if said else "no weights"


def left_out_note(bundle: Path) -> str:
    """Say why weights that are there are not released, or nothing."""
    if "weights" in read_metadata(bundle) or not (bundle / WEIGHTS[0]).exists():
        return ""
    return f": {WEIGHTS[0]} is left out, since metadata.json names no data under 'weights'"


def weights_problems(bundle: Path) -> list[str]:
    """Compare the statement of ``metadata.json`` with the weights and with their card, ``model.json``."""
    said = read_metadata(bundle).get("weights")
    if said is None:
        return []
    key = "configs/metadata.json: weights"
    lacking = [name for name in NEEDED if not (isinstance(said, dict) and isinstance(said.get(name), str))]
    if lacking:
        return [f"{key}: expected {', '.join(NEEDED)}, found no {', '.join(lacking)}"]
    problems = []
    if GENERATED.search(said["data"]):
        problems.append(f"{key}: expected data of patients; weights trained on {said['data']!r} are not given away")
    card = read_json(bundle / WEIGHTS[1])
    if not isinstance(card, dict):
        problems.append(f"{WEIGHTS[1]}: expected the card of the weights, found none")
    elif card.get("sha256") != said["sha256"]:
        problems.append(f"{key}: expected the sha256 of {WEIGHTS[1]}, {card.get('sha256')}, found {said['sha256']}")
    found = _hash(bundle)
    if found != said["sha256"]:
        problems.append(f"{WEIGHTS[0]}: expected sha256 {said['sha256']} as {key} says, found {found}")
    return problems


def _hash(bundle: Path) -> str | None:
    """SHA-256 of the weights, or what ``large_files.yml`` says of weights that are downloaded; None without weights."""
    path = bundle / WEIGHTS[0]
    if path.exists():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return next((entry.get("hash_val") for entry in large_files(bundle) if entry.get("path") == WEIGHTS[0]), None)
