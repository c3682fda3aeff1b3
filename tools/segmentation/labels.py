"""Label managers: conversion between label maps, network channels and evaluated classes, as in nnU-Net.

Label maps contain integers (B, 1, *spatial) with 0 for the background. An evaluated class is a set of labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from monai.networks.utils import one_hot

from tools.utils.errors import InputError


def smallest_integer_dtype(values: Iterable[int]) -> torch.dtype:
    """Return the smallest of uint8, int16 and int32, which viewers read from NIfTI files, that holds all values.

    Raises:
        InputError: if a value needs more than 32 bits.
    """
    low, high = min(values := list(values)), max(values)
    kinds = [torch.iinfo(kind) for kind in (torch.uint8, torch.int16, torch.int32)]
    found = next((getattr(torch, kind.dtype) for kind in kinds if kind.min <= low and high <= kind.max), None)
    if found is None:
        raise InputError(f"labels: expected values of at most 32 bits, found {low} to {high}")
    return found


class LabelManager(ABC):
    """Base class of the mappings between labels and the channels of a network.

    Attributes:
        labels: names of the labels, starting at label 1.
        classes: evaluated classes, as name to values of the labels they consist of.
        out_channels: number of output channels of the network.
        has_regions: True for regions that may overlap (sigmoid), False for exclusive labels (softmax).
    """

    labels: tuple[str, ...]
    classes: dict[str, tuple[int, ...]]
    out_channels: int
    has_regions: bool

    @abstractmethod
    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the binary targets (B, channels, *spatial) float32 of labels (B, 1, *spatial)."""

    @abstractmethod
    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return labels (B, 1, *spatial), see `smallest_integer_dtype`, of logits (B, channels, *spatial)."""

    def masks(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the boolean masks (B, classes, *spatial) of labels (B, 1, *spatial)."""
        return torch.cat([_isin(labels, members) for members in self.classes.values()], 1)


class SoftmaxLabels(LabelManager):
    """Exclusive labels with softmax: channel 0 is the background, channel i is label i.

    Args:
        names: names of the labels, starting at label 1. Each label is an evaluated class.

    Raises:
        InputError: if `names` is empty.
    """

    has_regions = False

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise InputError("labels: expected at least one label to segment, found none")
        self.labels = tuple(names)
        self.classes = {name: (value,) for value, name in enumerate(names, 1)}
        self.out_channels = 1 + len(self.labels)

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelManager.targets`."""
        return one_hot(labels, self.out_channels)

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the label with the highest logit, the lowest label for ties."""
        return logits.argmax(1, keepdim=True).to(smallest_integer_dtype((0, len(self.labels))))


class RegionLabels(LabelManager):
    """Nested regions with one sigmoid channel each (Myronenko, 2018), for example the tumour regions of BraTS.

    Args:
        labels: names of the labels, starting at label 1.
        regions: region names to the names of the labels they consist of, in any order.

    Raises:
        InputError: if a region has unknown labels, if two regions overlap without one containing the other, or if a
            region does not have exactly one label more than the regions inside it.
    """

    has_regions = True

    def __init__(self, labels: Sequence[str], regions: Mapping[str, Sequence[str]]) -> None:
        self.labels = tuple(labels)
        numbers = {name: value for value, name in enumerate(labels, 1)}
        for region, members in regions.items():
            if unknown := set(members) - set(numbers):
                raise InputError(f"regions: {region} expected labels among {', '.join(labels)}, found {unknown}")
        self.classes = {region: tuple(numbers[name] for name in members) for region, members in regions.items()}
        self.out_channels = len(self.classes)
        self._innermost = self._innermost_labels()

    def _innermost_labels(self) -> list[tuple[int, int]]:
        """Return (channel, label of a voxel whose innermost region is this channel), outer regions first."""
        sets = [set(members) for members in self.classes.values()]
        innermost = []
        for channel in sorted(range(len(sets)), key=lambda i: -len(sets[i])):
            inner = [other for other in sets if other < sets[channel]]
            left = sets[channel] - set().union(*inner)
            apart = all(s <= sets[channel] or s >= sets[channel] or not s & sets[channel] for s in sets)
            if len(left) != 1 or not apart:
                raise InputError(
                    f"regions: expected nested regions with one additional label each, found {self.classes}"
                )
            innermost.append((channel, left.pop()))
        return innermost

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelManager.targets`."""
        return self.masks(labels).float()

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the label of the innermost region with a positive logit; enclosing regions are implied."""
        inside = logits > 0
        found = torch.zeros_like(inside[:, :1], dtype=smallest_integer_dtype((0, len(self.labels))))
        for channel, label in self._innermost:
            found[inside[:, channel : channel + 1]] = label
        return found


def _isin(labels: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
    found = labels == members[0]
    for member in members[1:]:
        found = found | (labels == member)
    return found


#: regions of gliomas: tumour core, whole tumour, enhancing tumour (Menze et al., IEEE TMI 2015)
BRATS_LABELS = ("edema", "core", "enhancing")
BRATS_REGIONS = {"TC": ("core", "enhancing"), "WT": ("edema", "core", "enhancing"), "ET": ("enhancing",)}


def build_brats_labels(labels: Sequence[str] = BRATS_LABELS) -> RegionLabels:
    """Build the label manager of the BraTS challenge's regions.

    Args:
        labels: names of label 1, 2 and 3: "edema", "core" (without enhancement) and "enhancing", in any order.

    Raises:
        InputError: if the names differ from these.
    """
    if sorted(labels) != sorted(BRATS_LABELS):
        raise InputError(f"labels: expected {', '.join(BRATS_LABELS)} in any order, found {', '.join(labels)}")
    return RegionLabels(labels, BRATS_REGIONS)
