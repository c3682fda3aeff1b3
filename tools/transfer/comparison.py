"""Comparison of a model card with an encoder, the current data and the test cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.networks.encoders import Encoder
from tools.networks.norms import AUTO, parse_norm
from tools.transfer.card import equal_entries
from tools.transfer.report import LoadReport
from tools.utils.errors import InputError

#: entries of the card that are compared with the current data
COMPARED = ("channels", "orientation", "slice_axis", "spacing", "resize_shorter_edge", "intensity", "patch_size")

#: encoders with equal state dict keys
EQUIVALENT = [{name, f"m{name}"} for name in ("p3d18ba", "p3d63")]


def format_arguments(arguments: Mapping[str, Any]) -> str:
    """Format arguments of `build_encoder` in one line."""
    return ", ".join(f"{'encoder' if k == 'name' else k} {v}" for k, v in arguments.items())


def check_arguments(path: Path, theirs: Mapping[str, Any], encoder: Encoder, report: LoadReport) -> None:
    """Raise for differences that do not affect tensor shapes, such as group and instance norm; else warn."""
    ours = encoder.arguments
    if not ours:
        return
    theirs = {**theirs, "depth_stride": theirs.get("depth_stride", True)}  # missing in earlier cards
    for key in ("name", "spatial_dims", "norm"):
        same = ours.get(key) == theirs.get(key)
        if key == "name" and not same and {ours[key], str(theirs.get(key))} in EQUIVALENT:
            report.warnings.append(f"encoder: trained as {theirs[key]}, here {ours[key]}, which pools differently")
            same = True
        if key == "norm" and not same and key in theirs and AUTO not in (ours[key], theirs[key]):
            same = parse_norm(ours[key]) == parse_norm(theirs[key])
        if not same:
            raise InputError(
                f"{path}: expected an encoder with {format_arguments(ours)}, found one with {format_arguments(theirs)}"
            )
    for key in sorted((ours.keys() | theirs.keys()) - {"name", "spatial_dims", "norm", "in_channels"}):
        if ours.get(key) != theirs.get(key):
            found = [arguments.get(key, "an unknown value") for arguments in (theirs, ours)]
            report.warnings.append(f"{key}: the encoder was trained with {found[0]}, here it has {found[1]}")


def compare_data(card: Mapping[str, Any], expected: Mapping[str, Any], report: LoadReport) -> None:
    """Warn about differences between the card of the current data and the card of the weights."""
    expected = json.loads(json.dumps(dict(expected)))  # tuples become lists, as in the card
    for key in COMPARED:
        if key in expected and not equal_entries(key, expected[key], card.get(key)):
            was = card.get(key, "an unknown value")
            report.warnings.append(f"{key}: pretrained with {was}, here {expected[key]}")


def check_leakage(
    path: Path,
    card: Mapping[str, Any],
    test_cases: Sequence[Mapping[str, Any]],
    allow_test_leakage: bool,
    report: LoadReport,
) -> None:
    """Raise, or warn, if a test case was used for pretraining."""
    unknown = card.get("unknown_cases", 0)
    if unknown and test_cases:
        report.warnings.append(
            f"cases: {unknown} pretraining images have no voxel hashes; whether they include test cases is unknown"
        )
    pairs = seen_cases(card, test_cases)
    if not pairs:
        return
    named = ", ".join(f"{test} (pretrained on as {train})" for train, test in pairs[:5])
    message = f"{path}: expected test cases that were not used for pretraining, found {len(pairs)} that were: {named}"
    if not allow_test_leakage:
        raise InputError(f"{message}; change the split, or pass --allow_test_leakage True")
    report.warnings.append(message)


def seen_cases(card: Mapping[str, Any], test_cases: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pairs (training case, test case) of the cases in a card and test cases with equal voxels."""
    seen = {digest: case["case"] for case in card.get("cases", []) for digest in case["hashes"] or ()}
    return list({(seen[h], case["case"]): None for case in test_cases for h in case["hashes"] or () if h in seen})
