"""Matching of state dict keys: the part of a file that belongs to an encoder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from tools.utils.errors import InputError

SHOWN = 3  # keys of each side in messages
#: prefixes that DistributedDataParallel and torch.compile add
WRAPPERS = ("module.", "_orig_mod.")


def rename(weights: Mapping[str, torch.Tensor], pairs: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Replace regular expressions in all keys, in order."""
    renamed = dict(weights)
    for pattern, replacement in pairs:
        renamed = {re.sub(pattern, replacement, key): value for key, value in renamed.items()}
    return renamed


def strip_wrapper(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove a prefix of `WRAPPERS` that all keys have."""
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return dict(weights)


def find_prefix(path: Path, weights: Mapping[str, torch.Tensor], expected: Collection[str], wanted: str) -> str:
    """Return the common prefix of the encoder's tensors in a file: the one with which most expected keys are found.

    Args:
        path: path of the file, for messages.
        weights: state dict of the file.
        expected: state dict keys of the encoder.
        wanted: description of the encoder, for messages.

    Raises:
        InputError: if no expected key is found under any prefix, or under several ones with different values.
    """
    counts = Counter(
        key[:start]
        for key in weights
        for start in [0, *(found.end() for found in re.finditer(r"\.", key))]
        if key[start:] in expected
    )
    most = max(counts.values(), default=0)
    prefixes = sorted((prefix for prefix, count in counts.items() if count == most), key=len)
    if not prefixes:
        raise InputError(
            f"{path}: expected the weights of {wanted}, with keys {_first(expected)} under any prefix, found keys "
            f"{_first(weights)}; use the encoder of this file"
        )
    first, *others = (_part(weights, prefix, expected) for prefix in prefixes)
    for prefix, part in zip(prefixes[1:], others, strict=True):
        if not all(_same(first[key], part[key]) for key in first.keys() | part.keys() if key in first and key in part):
            keep = f"{{k: v for k, v in weights.items() if k.startswith({prefixes[0]!r})}}"
            raise InputError(
                f"{path}: expected one network, found different weights under the prefixes {prefixes[0]!r} and "
                f"{prefix!r}; save one of them, such as {keep}"
            )
    return prefixes[0]


def split_keys(
    weights: Mapping[str, torch.Tensor], prefix: str, expected: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the keys of a file that are not expected, as keys of other modules and keys of the encoder's modules.

    A key belongs to the encoder's modules if both it and an expected key have the same first part up to digits.
    For example, ``layer5`` is a level of an encoder with ``layer4``, but ``fc`` is a head.
    """
    own = {_family(key) for key in expected}
    further = [key for key in weights if not (key.startswith(prefix) and key[len(prefix) :] in expected)]
    inside = [key for key in further if key.startswith(prefix) and _family(key[len(prefix) :]) in own]
    return [key for key in further if key not in set(inside)], inside


def _family(key: str) -> str:
    """Return the first part of a key up to the first digit: ``layers`` of ``layers1c.0.conv.weight``."""
    return re.match(r"[^.\d]*", key)[0]


def _part(weights: Mapping[str, torch.Tensor], prefix: str, expected: Collection[str]) -> dict[str, torch.Tensor]:
    return {key: weights[prefix + key] for key in expected if prefix + key in weights}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _first(keys: Collection[str]) -> str:
    shown = list(keys)[:SHOWN]
    return ", ".join(shown) + (", …" if len(keys) > SHOWN else "")
