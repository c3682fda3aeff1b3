"""Load an encoder's weights: strictly, with a report, and never where a pretraining case is tested on."""

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
from tools.transfer.export import contract_path
from tools.transfer.inflation import load_inflated
from tools.transfer.report import Entry, LoadReport
from tools.utils.errors import InputError, one_line

#: entries of the contract that should agree with the data the encoder is now used on
COMPARED = ("channels", "orientation", "slice_axis", "spacing", "picture_size", "intensity", "patch_size")

#: prefixes that wrappers of a network put before the names of its tensors
WRAPPERS = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile"}

#: encoders whose weights have the same names and meaning
TWINS = [{name, f"m{name}"} for name in ("p3d18ba", "p3d63")]


def load_encoder(
    encoder: Encoder,
    path: str | Path,
    *,
    expected: Mapping[str, Any] | None = None,
    test_cases: Sequence[Mapping[str, Any]] | None = None,
    allow_overlap: bool = False,
) -> LoadReport:
    """Set every tensor of an encoder from a file `export_encoder` wrote, or another bare state dict of its keys.

    A 2D residual network's weights are inflated for a 3D one, see `inflate_resnet`. Else only the input channels may
    differ: the first convolution's weights are selected by the names of the channels where these are known, or summed
    over the file's channels and spread evenly over the encoder's, so that an image whose channels are all alike gives
    the same response; see `ChannelAdaptation`.

    Args:
        encoder: changed in place, and only when nothing is wrong.
        path: the weights file, ``model.pt``; its contract is looked for beside it.
        expected: ``channels``, ``orientation``, ``spacing`` and ``intensity`` of the present data, as in a contract;
            differences become warnings.
        test_cases: downstream test cases, as ``cases`` in a contract.
        allow_overlap: warn, instead of raising, when a pretraining case is among the test cases.

    Returns:
        The report; print it.

    Raises:
        InputError: when the file is missing, damaged, changed since its contract was written, something else than an
            encoder's state dict, or of another encoder; when a test case was pretrained on.
    """
    path = Path(path)
    content, weights = read_weights(path)
    contract = contract_of(path, content)
    if contract is None and is_inflatable(weights, encoder):
        return load_inflated(encoder, path, weights)
    report = LoadReport(str(path), [])
    adaptation = ChannelAdaptation(contract, expected, encoder.in_channels)
    if contract is None:
        report.warnings.append(f"{path}: no contract ({contract_path(path).name}) beside it: what it saw is not known")
    else:
        arguments = contract["encoder"]
        report.source += f" ({_spell(arguments)}; task {contract.get('task', 'not named')})"
        _check_arguments(path, arguments, encoder, report)
        used = {k: v for k, v in (expected or {}).items() if k != "channels" or adaptation.selected is None}
        _compare_data(contract, used, report)
        _check_overlap(path, contract, test_cases or [], allow_overlap, report)
    report.entries = _entries(weights, encoder, adaptation)
    _refuse(path, report, encoder, contract, weights)
    for entry in report.having("adapted"):
        weights[entry.name] = adaptation.apply(weights[entry.name])
    encoder.load_state_dict(weights)
    return report


def read_weights(path: Path) -> tuple[bytes, dict[str, torch.Tensor]]:
    """Content of a weights file, and the state dict in it.

    Raises:
        InputError: when it is missing, damaged, or something else than tensors by name.
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
    except Exception as error:  # a damaged or foreign file can fail anywhere in torch's readers
        raise InputError(
            f"{path}: expected an encoder's weights (model.pt), torch cannot read it: {one_line(error)}"
        ) from error
    if not isinstance(weights, dict):
        raise InputError(f"{path}: expected a bare state dict, found a {type(weights).__name__}")
    if {"network", "optimizer"} <= weights.keys():
        raise InputError(
            f"{path}: expected an encoder, found a checkpoint to resume a run; pass the run's "
            f"{path.with_name('model.pt')}"
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


def contract_of(path: Path, content: bytes) -> dict[str, Any] | None:
    """Contract beside a weights file with this content, or None when there is none.

    Raises:
        InputError: when it is no contract, or the one of other weights.
    """
    contract = read_card(path)
    if not contract:
        return None
    found = hashlib.sha256(content).hexdigest()
    if found != contract["sha256"]:
        raise InputError(
            f"{path}: expected SHA-256 {contract['sha256'][:16]}… as in {contract_path(path).name}, found "
            f"{found[:16]}…; if the training was killed while it wrote them, resume it to write both anew"
        )
    return contract


def _spell(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{'encoder' if k == 'name' else k} {v}" for k, v in arguments.items())


def _check_arguments(path: Path, theirs: Mapping[str, Any], encoder: Encoder, report: LoadReport) -> None:
    """Refuse what tensors cannot tell (group and instance norm have the same), warn of other differences."""
    ours = encoder.arguments
    if not ours:
        return
    theirs = {**theirs, "depth_stride": theirs.get("depth_stride", True)}  # not in all earlier cards
    for key in ("name", "spatial_dims", "norm"):
        same = ours.get(key) == theirs.get(key)
        if key == "name" and not same and {ours[key], str(theirs.get(key))} in TWINS:
            report.warnings.append(f"encoder: trained as {theirs[key]}, here {ours[key]}, which pools otherwise")
            same = True
        if key == "norm" and not same and key in theirs and AUTO not in (ours[key], theirs[key]):
            same = parse_norm(ours[key]) == parse_norm(theirs[key])
        if not same:
            raise InputError(f"{path}: expected an encoder with {_spell(ours)}, found one with {_spell(theirs)}")
    for key in sorted((ours.keys() | theirs.keys()) - {"name", "spatial_dims", "norm", "in_channels"}):
        if ours.get(key) != theirs.get(key):
            found = [arguments.get(key, "nothing said") for arguments in (theirs, ours)]
            report.warnings.append(f"{key}: the encoder was trained with {found[0]}, here it has {found[1]}")


def _compare_data(contract: Mapping[str, Any], expected: Mapping[str, Any], report: LoadReport) -> None:
    expected = json.loads(json.dumps(dict(expected)))  # lists, as in the contract
    for key in COMPARED:
        if key in expected and not equal_entries(key, expected[key], contract.get(key)):
            was = contract.get(key, "something its contract does not say")
            report.warnings.append(f"{key}: pretrained with {was}, here {expected[key]}")


def _check_overlap(
    path: Path,
    contract: Mapping[str, Any],
    test_cases: Sequence[Mapping[str, Any]],
    allow_overlap: bool,
    report: LoadReport,
) -> None:
    pairs = seen_cases(contract, test_cases)
    if not pairs:
        return
    named = ", ".join(f"{test} (pretrained on as {train})" for train, test in pairs[:5])
    message = f"{path}: expected test cases the encoder has never seen, found {len(pairs)} that it has: {named}"
    if not allow_overlap:
        raise InputError(f"{message}; split otherwise, or insist with --allow_overlap True")
    report.warnings.append(message)


def seen_cases(contract: Mapping[str, Any], test_cases: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Cases a contract names that share voxels with test cases: (seen, tested)."""
    seen = {digest: case["case"] for case in contract.get("cases", []) for digest in case["hashes"]}
    return list({(seen[h], case["case"]): None for case in test_cases for h in case["hashes"] if h in seen})


def _entries(weights: Mapping[str, torch.Tensor], encoder: Encoder, adaptation: ChannelAdaptation) -> list[Entry]:
    """Say what is to become of every tensor of the encoder and, after those, of the file."""
    state, parameters = encoder.state_dict(), dict(encoder.named_parameters())
    convolution = encoder.spatial_dims + 2  # axes of its weight
    fits = (key for key, value in state.items() if value.ndim == convolution and value.shape[1] == encoder.in_channels)
    stem = next(fits, None)
    entries = []
    for name, ours in state.items():
        status, note, theirs = "loaded", "", weights.get(name)
        if theirs is None:
            status, note = "missing", "the file has no such tensor"
        elif name == stem and ours.ndim == theirs.ndim and ours[:, :1].shape == theirs[:, :1].shape:
            note = adaptation.note(theirs.shape, ours.shape) or ""
            status = "adapted" if note else "loaded"
        elif ours.shape != theirs.shape:
            status, note = "missing", f"encoder {tuple(ours.shape)}, file {tuple(theirs.shape)}"
        entries.append(Entry(name, status, ours.numel(), name in parameters, note))
    return entries + [
        Entry(name, "skipped", theirs.numel(), False, f"the encoder has no such tensor, file {tuple(theirs.shape)}")
        for name, theirs in weights.items()
        if name not in state
    ]


def _refuse(
    path: Path,
    report: LoadReport,
    encoder: Encoder,
    contract: Mapping[str, Any] | None,
    weights: Mapping[str, torch.Tensor],
) -> None:
    wrong = report.having("missing", "skipped")
    if not wrong:
        return
    refuse_prefix(path, encoder.state_dict(), weights)
    listed = "; ".join(f"{e.name}: {e.note}" for e in wrong[:4]) + ("; …" if len(wrong) > 4 else "")
    named = f"its contract names {_spell(contract['encoder'])}" if contract else "it has no contract that names one"
    raise InputError(
        f"{path}: expected the weights of {_spell(encoder.arguments) or type(encoder).__name__}, found "
        f"{len(wrong)} of {len(report.entries)} tensors that do not fit ({listed}); {named}"
    )


def refuse_prefix(path: Path, expected: Iterable[str], found: Iterable[str]) -> None:
    """Raise an `InputError` that names the prefix under which a file has all expected tensors, if there is one.

    Args:
        path: the weights file.
        expected: names of the network's tensors.
        found: names in the file.
    """
    expected, found = list(expected), list(found)
    ends = [name.removesuffix(expected[0]) for name in found if name.endswith(expected[0])]
    prefix = next((one for one in ends if one and {one + name for name in expected} <= set(found)), None)
    if prefix is not None:
        wrapper = next((f", as {name} writes them" for part, name in WRAPPERS.items() if prefix.startswith(part)), "")
        inside = f"{{k.removeprefix({prefix!r}): v for k, v in weights.items() if k.startswith({prefix!r})}}"
        raise InputError(
            f"{path}: expected tensors named like {expected[0]}, found them under the prefix {prefix!r}{wrapper}; save "
            f"the part inside, {inside}"
        )
