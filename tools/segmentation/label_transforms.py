"""Label maps: from a file's values to 1, 2, 3 …, and from a network's scores back to the file's grid and values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample

from tools.segmentation.labels import LabelManager, integer_type
from tools.transforms.checks import sample_name
from tools.transforms.volume import grid_difference
from tools.utils.errors import InputError

MAX_SHOWN = 8


class PrepareLabelsd(MapTransform):
    """Bring label maps to 0 for the background and 1, 2, 3 … for the structures; refuse what does not fit.

    Args:
        keys: label maps (1, D, H, W) as read.
        image_key: image (C, D, H, W) whose grid they must have; None does not compare.
        values: the stored value of label 1, of label 2, and so on.
        background: stored values besides 0 that become background.

    Raises:
        InputError: another grid than the image's, several channels, or values that are neither 0 nor in `values` or
            `background`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        values: Sequence[int],
        image_key: str | None = "image",
        background: Sequence[int] = (),
    ) -> None:
        super().__init__(keys)
        self.values = tuple(values)
        self.background = (0, *background)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Prepare one sample's label maps."""
        sample = dict(data)
        for key in self.keys:
            stored = sample[key]
            name = sample_name(sample, key)
            if len(stored) != 1:
                raise InputError(f"{name}: expected a label map of one channel, found {len(stored)}")
            if self.image_key is not None and (different := grid_difference(stored, sample[self.image_key])):
                image = sample_name(sample, self.image_key)
                raise InputError(f"{name}: expected the grid of its image {image}, found {different}")
            sample[key] = self._rename(stored, name)
        return sample

    def _rename(self, stored: torch.Tensor, name: str) -> torch.Tensor:
        labels = torch.zeros_like(stored, dtype=integer_type((0, len(self.values))))
        for label, value in enumerate(self.values, 1):
            labels[stored == value] = label
        foreign = labels == 0
        for value in self.background:
            foreign &= stored != value
        if foreign.any():
            found = sorted({float(v) for v in torch.unique(torch.Tensor.as_subclass(stored, torch.Tensor))})
            shown = ", ".join(f"{v:g}" for v in found[:MAX_SHOWN]) + (" …" if len(found) > MAX_SHOWN else "")
            expected = ", ".join(map(str, (*self.background, *self.values)))
            raise InputError(f"{name}: expected labels among {expected}, found {shown}")
        return labels


class RestoreGridd(MapTransform):
    """Resample scores, linearly, from the prepared grid to that of the file they come from.

    Outside the prepared part scores become 0: background, whatever the coding.

    Args:
        keys: scores (C, D, H, W).
        image_key: prepared image with the affine of the scores, and with ``original_affine`` and ``spatial_shape``.
    """

    def __init__(self, keys: KeysCollection = "pred", image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=torch.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore one sample's scores."""
        sample = dict(data)
        image = sample[self.image_key]
        affine = torch.as_tensor(image.meta["original_affine"])
        size = [int(edge) for edge in image.meta["spatial_shape"]]
        for key in self.keys:
            scores = MetaTensor(torch.Tensor.as_subclass(sample[key], torch.Tensor), affine=image.affine)
            sample[key] = self.resample(scores, dst_affine=affine, spatial_size=size)
            sample[key].meta.update(filename_or_obj=image.meta.get("filename_or_obj", ""), original_affine=affine)
            sample[key].meta["spatial_shape"] = torch.tensor(size)
        return sample


class DecodeScoresd(MapTransform):
    """From scores (channels, D, H, W) to a label map (1, D, H, W) of the smallest type, see `integer_type`.

    Args:
        keys: scores.
        coding: what the channels mean.
        values: value to store for label 1, for label 2, and so on; default those numbers.
    """

    def __init__(self, keys: KeysCollection, coding: LabelManager, values: Sequence[int] | None = None) -> None:
        super().__init__(keys)
        self.coding = coding
        self.values = tuple(values or range(1, 1 + len(coding.labels)))
        if len(self.values) != len(coding.labels):
            raise InputError(
                f"label_values: expected one for each of {', '.join(coding.labels)}, found {list(self.values)}"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Decode one sample's scores."""
        sample = dict(data)
        table = torch.tensor((0, *self.values), dtype=integer_type((0, *self.values)))
        for key in self.keys:
            labels = self.coding.decode(sample[key][None])[0]
            plain = torch.Tensor.as_subclass(labels, torch.Tensor)
            stored = table.to(plain.device)[plain.long()]
            sample[key] = MetaTensor(stored, meta=sample[key].meta) if isinstance(sample[key], MetaTensor) else stored
        return sample
