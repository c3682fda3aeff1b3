"""Strict loading of encoder weights with a report and a check for test cases in the pretraining data."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tools.networks.encoders import Encoder
from tools.networks.inflation import is_inflatable
from tools.networks.norms import AUTO, parse_norm
from tools.transfer.card import equal_entries, read_card
from tools.transfer.channels import ChannelAdaptation
from tools.transfer.export import card_path
from tools.transfer.inflation import load_inflated
from tools.transfer.report import Entry, LoadReport
from tools.utils.errors import InputError, one_line

#: entries of the card that are compared with the present data
COMPARED = ("channels", "orientation", "slice_axis", "spacing", "resize_shorter_edge", "intensity", "patch_size")

#: prefixes of state dict keys added by wrappers of networks
WRAPPERS = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile"}

#: encoders with equal state dict keys
EQUIVALENT = [{name, f"m{name}"} for name in ("p3d18ba", "p3d63")]


def load_encoder(
    encoder: Encoder,
    path: str | Path,
    *,
    expected: Mapping[str, Any] | None = None,
    test_cases: Sequence[Mapping[str, Any]] | None = None,
    allow_test_leakage: bool = False,
) -> LoadReport:
    """Load all tensors of an encoder from a file of `export_encoder` or a bare state dict with the same keys.

    Weights of a 2D ResNet are inflated for a 3D ResNet, see `inflate_resnet`. Otherwise only the input channels may
    differ: the weights of the first convolution are selected by channel name or averaged, see `ChannelAdaptation`.

    Args:
        encoder: encoder, changed in place unless an error is raised.
        path: path of the weights, ``model.pt``, with its card beside it.
        expected: ``channels``, ``orientation``, ``spacing`` and ``intensity`` of the present data, as in a card;
            differences are reported as warnings.
        test_cases: downstream test cases, as ``cases`` in a card.
        allow_test_leakage: warn instead of raising if a test case was used for pretraining.

    Returns:
        The report.

    Raises:
        InputError: if the file is missing, damaged, different from its card, not a state dict of an encoder, or of
            another encoder, or if a test case was used for pretraining.
    """
    path = Path(path)
    content, weights = read_weights(path)
    card = read_matching_card(path, content)
    if card is None and is_inflatable(weights, encoder):
        return load_inflated(encoder, path, weights)
    report = LoadReport(str(path), [])
    adaptation = ChannelAdaptation(card, expected, encoder.in_channels)
    if card is None:
        report.warnings.append(
            f"{path}: no model card ({card_path(path).name}) beside it; the pretraining data is unknown"
        )
    else:
        arguments = card["encoder"]
        report.source += f" ({_spell(arguments)}; task {card.get('task', 'not named')})"
        _check_arguments(path, arguments, encoder, report)
        used = {k: v for k, v in (expected or {}).items() if k != "channels" or adaptation.selected is None}
        _compare_data(card, used, report)
        _check_overlap(path, card, test_cases or [], allow_test_leakage, report)
    report.entries = _entries(weights, encoder, adaptation)
    _refuse(path, report, encoder, card, weights)
    for entry in report.having("adapted"):
        weights[entry.name] = adaptation.apply(weights[entry.name])
    encoder.load_state_dict(weights)
    return report


def read_weights(path: Path) -> tuple[bytes, dict[str, torch.Tensor]]:
    """Read the bytes and the state dict of a weights file.

    Raises:
        InputError: if the file is missing, damaged or not a state dict.
    """
    content = _read(path)
    return content, _state_dict(path, content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected an encoder's weights (model.pt), found {error.strerror}") from error


def _state_dict(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises various errors for damaged files
        raise InputError(
            f"{path}: expected an encoder's weights (model.pt), torch cannot read it: {one_line(error)}"
        ) from error
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected a bare state dict, found a {type(weights).__name__}")
    if {"network", "optimizer"} <= weights.keys():
        raise InputError(
            f"{path}: expected an encoder, found a training checkpoint; pass the run's {path.with_name('model.pt')}"
        )
    other = [str(k) for k, v in weights.items() if not isinstance(v, torch.Tensor)]
    if other or not weights:
        found = f"a dict with {', '.join(map(str, list(weights)[:5])) or 'nothing in it'}"
        raise InputError(f"{path}: expected a bare state dict, tensors only, found {found}; save the encoder's part")
    bad = [k for k, v in weights.items() if not torch.isfinite(v).all()]
    if bad:
        raise InputError(
            f"{path}: expected finite weights, found NaN or infinity in {len(bad)} tensors, first {bad[0]}"
        )
    return dict(weights)


def read_matching_card(path: Path, content: bytes) -> dict[str, Any] | None:
    """Return the card of a weights file with this content, or None without a card.

    Raises:
        InputError: if the file is not a model card, or belongs to other weights.
    """
    card = read_card(path)
    if not card:
        return None
    found = hashlib.sha256(content).hexdigest()
    if found != card["sha256"]:
        raise InputError(
            f"{path}: expected SHA-256 {card['sha256'][:16]}… as in {card_path(path).name}, found "
            f"{found[:16]}…; if training was interrupted while writing, resume it to write both files"
        )
    return card


def _spell(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{'encoder' if k == 'name' else k} {v}" for k, v in arguments.items())


def _check_arguments(path: Path, theirs: Mapping[str, Any], encoder: Encoder, report: LoadReport) -> None:
    """Raise for differences that tensors do not show, such as group and instance norm; warn of other differences."""
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
            raise InputError(f"{path}: expected an encoder with {_spell(ours)}, found one with {_spell(theirs)}")
    for key in sorted((ours.keys() | theirs.keys()) - {"name", "spatial_dims", "norm", "in_channels"}):
        if ours.get(key) != theirs.get(key):
            found = [arguments.get(key, "an unknown value") for arguments in (theirs, ours)]
            report.warnings.append(f"{key}: the encoder was trained with {found[0]}, here it has {found[1]}")


def _compare_data(card: Mapping[str, Any], expected: Mapping[str, Any], report: LoadReport) -> None:
    expected = json.loads(json.dumps(dict(expected)))  # tuples become lists, as in the card
    for key in COMPARED:
        if key in expected and not equal_entries(key, expected[key], card.get(key)):
            was = card.get(key, "an unknown value")
            report.warnings.append(f"{key}: pretrained with {was}, here {expected[key]}")


def _check_overlap(
    path: Path,
    card: Mapping[str, Any],
    test_cases: Sequence[Mapping[str, Any]],
    allow_test_leakage: bool,
    report: LoadReport,
) -> None:
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
    seen = {digest: case["case"] for case in card.get("cases", []) for digest in case["hashes"]}
    return list({(seen[h], case["case"]): None for case in test_cases for h in case["hashes"] if h in seen})


def _entries(weights: Mapping[str, torch.Tensor], encoder: Encoder, adaptation: ChannelAdaptation) -> list[Entry]:
    """Return the entries of all tensors of the encoder, followed by further tensors of the file."""
    state, parameters = encoder.state_dict(), dict(encoder.named_parameters())
    convolution = encoder.spatial_dims + 2  # axes of its weight
    fits = (key for key, value in state.items() if value.ndim == convolution and value.shape[1] == encoder.in_channels)
    stem = next(fits, None)
    entries = []
    for name, ours in state.items():
        status, note, theirs = "loaded", "", weights.get(name)
        if theirs is None:
            status, note = "missing", "not in the file"
        elif name == stem and ours.ndim == theirs.ndim and ours[:, :1].shape == theirs[:, :1].shape:
            note = adaptation.note(theirs.shape, ours.shape) or ""
            status = "adapted" if note else "loaded"
        elif ours.shape != theirs.shape:
            status, note = "missing", f"encoder {tuple(ours.shape)}, file {tuple(theirs.shape)}"
        entries.append(Entry(name, status, ours.numel(), name in parameters, note))
    return entries + [
        Entry(name, "skipped", theirs.numel(), False, f"not in the encoder, file {tuple(theirs.shape)}")
        for name, theirs in weights.items()
        if name not in state
    ]


def _refuse(
    path: Path,
    report: LoadReport,
    encoder: Encoder,
    card: Mapping[str, Any] | None,
    weights: Mapping[str, torch.Tensor],
) -> None:
    wrong = report.having("missing", "skipped")
    if not wrong:
        return
    refuse_prefix(path, encoder.state_dict(), weights)
    listed = "; ".join(f"{e.name}: {e.note}" for e in wrong[:4]) + ("; …" if len(wrong) > 4 else "")
    named = f"its card names {_spell(card['encoder'])}" if card else "it has no model card"
    raise InputError(
        f"{path}: expected the weights of {_spell(encoder.arguments) or type(encoder).__name__}, found "
        f"{len(wrong)} of {len(report.entries)} tensors that do not fit ({listed}); {named}"
    )


def refuse_prefix(path: Path, expected: Iterable[str], found: Iterable[str]) -> None:
    """Raise an `InputError` if all tensors of a network are in the file under a common prefix.

    Args:
        path: path of the weights.
        expected: state dict keys of the network.
        found: state dict keys in the file.
    """
    expected, found = list(expected), list(found)
    ends = [name.removesuffix(expected[0]) for name in found if name.endswith(expected[0])]
    prefix = next((one for one in ends if one and {one + name for name in expected} <= set(found)), None)
    if prefix is not None:
        wrapper = next((f" of {name}" for part, name in WRAPPERS.items() if prefix.startswith(part)), "")
        inside = f"{{k.removeprefix({prefix!r}): v for k, v in weights.items() if k.startswith({prefix!r})}}"
        raise InputError(
            f"{path}: expected tensors named like {expected[0]}, found the prefix {prefix!r}{wrapper}; save the "
            f"weights without it, {inside}"
        )
