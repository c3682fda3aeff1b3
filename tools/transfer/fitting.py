"""Fitting of a published state dict to an encoder: prefix, names, axis order, inflation and input channels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch

from tools.networks.encoders import Encoder
from tools.networks.inflation import OPTIONAL, inflate_resnet, is_inflatable
from tools.transfer.channels import ChannelAdaptation
from tools.transfer.comparison import format_arguments
from tools.transfer.formats.checkpoint import Checkpoint
from tools.transfer.formats.matching import find_prefix, rename, split_keys
from tools.transfer.formats.table import BARE, Format
from tools.transfer.report import Entry, LoadReport
from tools.utils.errors import InputError

#: remedies by a tensor that does not fit
REMEDIES = (
    (
        r"downsample.*weight: not in the file",
        "the file has shortcuts of type A, an option of the encoder: shortcut_type",
    ),
    (
        r"downsample.*weight: not in the encoder",
        "the file has shortcuts of type B, an option of the encoder: shortcut_type",
    ),
    (r"layers\dc\.", "v1 and v2 of SwinUNETR differ in these, an option of the encoder: use_v2"),
    (r"running_(mean|var): not in the encoder", "pass --norm batch"),
    (r"running_(mean|var): not in the file", "pass --norm group or instance, as the file was trained with"),
)


def fit_weights(
    checkpoint: Checkpoint, form: Format, encoder: Encoder, adaptation: ChannelAdaptation, report: LoadReport
) -> dict[str, torch.Tensor]:
    """Return a state dict for an encoder from the content of a weights file.

    Args:
        checkpoint: content of the file.
        form: its format.
        encoder: encoder, which is not changed.
        adaptation: adaptation to the encoder's input channels.
        report: entries and notes are added.

    Raises:
        InputError: if any tensor of the encoder is not in the file with the same shape, or if the file has further
            tensors in the encoder's modules.
    """
    weights, expected = rename(checkpoint.weights, form.rename), encoder.state_dict()
    wanted = format_arguments(encoder.arguments) or type(encoder).__name__
    prefix = find_prefix(checkpoint.path, weights, expected, wanted)
    outside, inside = split_keys(weights, prefix, expected)
    found = {key: weights[prefix + key] for key in expected if prefix + key in weights}
    order = form.order(checkpoint) if encoder.spatial_dims == 3 else (0, 1, 2)
    found = {key: _permute(value, order) for key, value in found.items()}
    report.notes += _notes(checkpoint, form, prefix, order, found, outside)
    further = {key.removeprefix(prefix): weights[key] for key in inside}
    if is_inflatable(found, encoder):
        state, entries = _inflate(checkpoint, {**found, **further}, encoder)
        report.source += " (2D, inflated)"
    else:
        state, entries = _adapt(found, expected, encoder, adaptation)
        wrong = [f"{one.name}: {one.note}" for one in entries if one.status == "missing"]
        wrong += [f"{key}: not in the encoder, file {tuple(value.shape)}" for key, value in further.items()]
        if wrong:
            raise InputError(
                f"{report.source}: expected the weights of {wanted}, {_describe(checkpoint, encoder, wrong)}"
            )
    report.entries = entries + [Entry(key, "skipped", weights[key].numel(), False) for key in outside]
    return state


def _permute(value: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    return value.permute(0, 1, *(2 + axis for axis in order)) if value.ndim == 5 else value


def _notes(
    checkpoint: Checkpoint,
    form: Format,
    prefix: str,
    order: tuple[int, ...],
    found: Mapping[str, torch.Tensor],
    outside: Iterable[str],
) -> list[str]:
    """Describe how the file was adapted; empty for a plain state dict of an encoder."""
    notes = []
    if form.name != BARE:
        place = f"; state dict under {checkpoint.container}" if checkpoint.container else ""
        notes.append(f"recognised: {form.name}{place}")
    if prefix:
        notes.append(f"prefix: {prefix} removed")
    renamed = len(checkpoint.weights.keys() - rename(checkpoint.weights, form.rename).keys())
    if renamed:
        notes.append(f"renamed: {renamed} keys ({', '.join(f'{old} → {new}' for old, new in form.rename)})")
    if order != (0, 1, 2):
        kernels = sum(value.ndim == 5 for value in found.values())
        axes = ", ".join(str(2 + axis) for axis in order)
        notes.append(f"axes: (2, 3, 4) of {kernels} kernels permuted to ({axes}), from z, y, x to x, y, z; not flipped")
    counts = Counter(key.removeprefix(prefix).partition(".")[0] for key in outside)
    if counts:
        listed = ", ".join(f"{module} ({count} tensors)" for module, count in counts.items())
        notes.append(f"excluded, since not part of the encoder: {listed}")
    return notes


def _inflate(
    checkpoint: Checkpoint, weights: Mapping[str, torch.Tensor], encoder: Encoder
) -> tuple[dict[str, torch.Tensor], list[Entry]]:
    try:
        state, notes = inflate_resnet(weights, encoder)
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from error
    trained = dict(encoder.named_parameters())
    return state, [
        Entry(key, "adapted" if notes[key] else "loaded", value.numel(), key in trained, notes[key])
        for key, value in state.items()
    ]


def _adapt(
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    encoder: Encoder,
    adaptation: ChannelAdaptation,
) -> tuple[dict[str, torch.Tensor], list[Entry]]:
    """Return the state dict with adapted input channels, and the entries of all tensors of the encoder."""
    trained = dict(encoder.named_parameters())
    stem, state, entries = _stem(expected, encoder), dict(found), []
    for key, ours in expected.items():
        status, note, theirs = "loaded", "", found.get(key)
        if theirs is None and key.endswith(OPTIONAL):
            state[key], status, note = torch.zeros_like(ours), "adapted", "not in the file, as in old ones: 0"
        elif theirs is None:
            status, note = "missing", "not in the file"
        elif key in stem and ours.ndim == theirs.ndim and ours[:, :1].shape == theirs[:, :1].shape:
            note = adaptation.note(theirs.shape, ours.shape) or ""
            if note:
                state[key], status = adaptation.apply(theirs), "adapted"
        elif ours.shape != theirs.shape:
            status, note = "missing", f"encoder {tuple(ours.shape)}, file {tuple(theirs.shape)}"
        entries.append(Entry(key, status, ours.numel(), key in trained, note))
    return state, entries


def _stem(state: Mapping[str, torch.Tensor], encoder: Encoder) -> set[str]:
    """Return the names of the weight of the first convolution, which some networks register twice."""
    kernels = (value for value in state.values() if value.ndim == encoder.spatial_dims + 2)
    first = next((value for value in kernels if value.shape[1] == encoder.in_channels), None)
    return {key for key, value in state.items() if first is not None and value.data_ptr() == first.data_ptr()}


def _describe(checkpoint: Checkpoint, encoder: Encoder, wrong: list[str]) -> str:
    """Describe tensors that do not fit, and the remedy if there is one."""
    listed = "; ".join(wrong[:4]) + ("; …" if len(wrong) > 4 else "")
    found = [f"found {len(wrong)} of {len(encoder.state_dict())} tensors that do not fit ({listed})"]
    found += [text for pattern, text in REMEDIES if any(re.search(pattern, one) for one in wrong)][:1]
    kernels = {value.ndim - 2 for value in checkpoint.weights.values() if value.ndim > 3}
    if kernels == {2} and encoder.spatial_dims == 3:
        found.append("these are 2D weights, and only a 2D ResNet can be inflated, into encoder resnet18, 34 or 50")
    if len(found) == 1:
        found.append("pass the encoder of this file with its levels and widths as options")
    return "; ".join(found)
