"""What the channels of a segmentation network mean, and how labels become targets and scores become labels.

Labels are maps of whole numbers (B, 1, *spatial), 0 the background; what is scored are structures, each a set of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from monai.networks.utils import one_hot

from tools.utils.errors import InputError


def integer_type(values: Iterable[int]) -> torch.dtype:
    """Smallest type among uint8, int16 and int32 that holds all values; viewers read these from NIfTI files."""
    low, high = min(values := list(values)), max(values)
    kinds = [torch.iinfo(kind) for kind in (torch.uint8, torch.int16, torch.int32)]
    found = next((getattr(torch, kind.dtype) for kind in kinds if kind.min <= low and high <= kind.max), None)
    if found is None:
        raise InputError(f"labels: expected values of at most 32 bits, found {low} to {high}")
    return found


class LabelManager(ABC):
    """A way to lay out labels in the channels of a network.

    Attributes:
        labels: name of each label, from 1 on.
        structures: name of each structure that is scored, with the labels it consists of.
        channels: scores per voxel.
        exclusive: whether the channels compete (softmax) or each decides alone (sigmoid).
    """

    labels: tuple[str, ...]
    structures: dict[str, tuple[int, ...]]
    channels: int
    exclusive: bool

    @abstractmethod
    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Lay out labels (B, 1, *spatial) as the network's channels, 0 or 1: (B, channels, *spatial) float32."""

    @abstractmethod
    def decode(self, scores: torch.Tensor) -> torch.Tensor:
        """Labels (B, 1, *spatial) of scores (B, channels, *spatial) before any activation, see `integer_type`."""

    def masks(self, labels: torch.Tensor) -> torch.Tensor:
        """Where the structures are in labels (B, 1, *spatial): (B, structures, *spatial), bool."""
        return torch.cat([_among(labels, members) for members in self.structures.values()], 1)


class SoftmaxLabels(LabelManager):
    """Every voxel has one label: channel 0 is the background, channel i label i, compared by softmax.

    Args:
        names: of the labels, from 1 on; each is scored as a structure of its own.
    """

    exclusive = True

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise InputError("labels: expected at least one structure to segment, found none")
        self.labels = tuple(names)
        self.structures = {name: (value,) for value, name in enumerate(names, 1)}
        self.channels = 1 + len(self.labels)

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelManager.targets`."""
        return one_hot(labels, self.channels)

    def decode(self, scores: torch.Tensor) -> torch.Tensor:
        """Label of the highest score; the lower one of equal ones."""
        return scores.argmax(1, keepdim=True).to(integer_type((0, len(self.labels))))


class RegionLabels(LabelManager):
    """Nested regions, one channel each, sigmoid (Myronenko 2018): for tumours whose parts are scored by their unions.

    Args:
        labels: names, from 1 on.
        regions: region name to the names of the labels it consists of. Those that contain others may come in any order.

    Raises:
        InputError: a region of unknown labels, two that overlap without one containing the other, or a label that is
            no region's own.
    """

    exclusive = False

    def __init__(self, labels: Sequence[str], regions: Mapping[str, Sequence[str]]) -> None:
        self.labels = tuple(labels)
        numbers = {name: value for value, name in enumerate(labels, 1)}
        for region, members in regions.items():
            if unknown := set(members) - set(numbers):
                raise InputError(f"regions: {region} expected labels among {', '.join(labels)}, found {unknown}")
        self.structures = {region: tuple(numbers[name] for name in members) for region, members in regions.items()}
        self.channels = len(self.structures)
        self._own = self._own_labels()

    def _own_labels(self) -> list[tuple[int, int]]:
        """(channel, the label a voxel has where this is the innermost region), outer regions first."""
        sets = [set(members) for members in self.structures.values()]
        own = []
        for channel in sorted(range(len(sets)), key=lambda i: -len(sets[i])):
            inner = [other for other in sets if other < sets[channel]]
            left = sets[channel] - set().union(*inner)
            apart = all(s <= sets[channel] or s >= sets[channel] or not s & sets[channel] for s in sets)
            if len(left) != 1 or not apart:
                raise InputError(f"regions: expected nested ones, each with one label more, found {self.structures}")
            own.append((channel, left.pop()))
        return own

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelManager.targets`."""
        return self.masks(labels).float()

    def decode(self, scores: torch.Tensor) -> torch.Tensor:
        """Label of the innermost region whose score is positive; those that contain it are then there too."""
        inside = scores > 0
        found = torch.zeros_like(inside[:, :1], dtype=integer_type((0, len(self.labels))))
        for channel, label in self._own:
            found[inside[:, channel : channel + 1]] = label
        return found


def _among(labels: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
    found = labels == members[0]
    for member in members[1:]:
        found = found | (labels == member)
    return found


#: of gliomas: whole tumour, tumour core, enhancing tumour (Menze et al., IEEE TMI 2015)
BRATS_LABELS = ("edema", "core", "enhancing")
BRATS_REGIONS = {"TC": ("core", "enhancing"), "WT": ("edema", "core", "enhancing"), "ET": ("enhancing",)}


def brats_regions(labels: Sequence[str] = BRATS_LABELS) -> RegionLabels:
    """The regions of the BraTS challenge.

    Args:
        labels: names of label 1, 2 and 3: "edema", "core" (without enhancement) and "enhancing", in any order.

    Raises:
        InputError: other names.
    """
    if sorted(labels) != sorted(BRATS_LABELS):
        raise InputError(f"labels: expected {', '.join(BRATS_LABELS)} in any order, found {', '.join(labels)}")
    return RegionLabels(labels, BRATS_REGIONS)
