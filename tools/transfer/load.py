"""Strict loading of encoder weights with a report and a check for test cases in the pretraining data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tools.networks.encoders import Encoder
from tools.transfer.card import read_card
from tools.transfer.channels import ChannelAdaptation
from tools.transfer.comparison import check_arguments, check_leakage, compare_data, format_arguments
from tools.transfer.copying import copy_weights
from tools.transfer.export import card_path
from tools.transfer.fitting import fit_weights
from tools.transfer.formats.checkpoint import read_checkpoint
from tools.transfer.formats.table import find_format
from tools.transfer.hub import local_file
from tools.transfer.report import LoadReport
from tools.utils.errors import InputError
from tools.utils.files import file_sha256


def load_encoder(
    encoder: Encoder,
    path: str | Path,
    *,
    expected: Mapping[str, Any] | None = None,
    test_cases: Sequence[Mapping[str, Any]] | None = None,
    allow_test_leakage: bool = False,
) -> LoadReport:
    """Load all tensors of an encoder from a weights file of this or another project.

    The formats are listed in `tools.transfer.formats.table`. The encoder's tensors may have a common prefix; those of
    other modules, such as a decoder, are excluded and reported. Every tensor of the encoder must be in the file with
    the same shape, with two exceptions. Input channels of the first convolution are selected by channel name or
    averaged, see `ChannelAdaptation`. 2D ResNets are inflated for a 3D ResNet, see `inflate_resnet`.

    Args:
        encoder: encoder, changed in place unless an error is raised.
        path: path of the weights, with its card next to it, or an address of the Hub, see `local_file`.
        expected: ``channels``, ``orientation``, ``spacing`` and ``intensity`` of the current data, as in a card;
            differences are reported as warnings.
        test_cases: downstream test cases, as ``cases`` in a card.
        allow_test_leakage: warn instead of raising if a test case was used for pretraining.

    Returns:
        The report.

    Raises:
        InputError: if the file is missing, damaged, different from its card, without the weights of this encoder, or
            would have to be unpickled, or if a test case was used for pretraining.
    """
    with _single_thread():
        return _load(encoder, local_file(path), expected, test_cases or [], allow_test_leakage)


def _load(
    encoder: Encoder,
    path: Path,
    expected: Mapping[str, Any] | None,
    test_cases: Sequence[Mapping[str, Any]],
    allow_test_leakage: bool,
) -> LoadReport:
    with ThreadPoolExecutor(1) as pool:  # the weights are read while their hash is computed
        matching = pool.submit(read_matching_card, path)
        checkpoint, card = read_checkpoint(path), matching.result()
    form, report = find_format(checkpoint), LoadReport(str(path), [])
    adaptation = ChannelAdaptation(card, expected, encoder.in_channels)
    if card is None:
        report.warnings += [
            f"{path}: no model card ({card_path(path).name}) beside it; the pretraining data is unknown",
            *form.check(checkpoint, encoder),
        ]
        known = form.card(checkpoint)
        compare_data(known, {key: value for key, value in (expected or {}).items() if key in known}, report)
        check_leakage(path, known, test_cases, allow_test_leakage, report)
    else:
        report.source += f" ({format_arguments(card['encoder'])}; task {card.get('task', 'not named')})"
        check_arguments(path, card["encoder"], encoder, report)
        used = {k: v for k, v in (expected or {}).items() if k != "channels" or adaptation.selected is None}
        compare_data(card, used, report)
        check_leakage(path, card, test_cases, allow_test_leakage, report)
    copy_weights(encoder, fit_weights(checkpoint, form, encoder, adaptation, report))
    return report


@contextmanager
def _single_thread() -> Iterator[None]:
    """Use one thread for torch's operations; on a busy machine, loading with several takes four times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_matching_card(path: Path) -> dict[str, Any] | None:
    """Return the card of a weights file, or None without a card.

    Raises:
        InputError: if the file is not a model card, or belongs to other weights.
    """
    card = read_card(path)
    if not card:
        return None
    found = file_sha256(path)
    if found != card["sha256"]:
        raise InputError(
            f"{path}: expected SHA-256 {card['sha256'][:16]}… as in {card_path(path).name}, found "
            f"{found[:16]}…; if training was interrupted while writing, resume it to write both files"
        )
    return card
