"""Label map transforms: stored values to labels, and logits to label maps on the grid of the file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample

from tools.segmentation.labels import LabelManager, smallest_integer_dtype
from tools.transforms.checks import sample_name
from tools.transforms.volume import grid_difference
from tools.utils.errors import InputError

MAX_SHOWN = 8


class MapLabelsd(MapTransform):
    """Map the stored values of label maps to 0 for the background and 1, 2, 3 … for the labels.

    Args:
        keys: keys of label maps (1, D, H, W) as stored in the files.
        image_key: key of the image (C, D, H, W) with the expected grid; None skips the comparison.
        values: the stored value of label 1, of label 2, and so on.
        background: stored values that are mapped to the background, in addition to 0.

    Raises:
        InputError: if the grid differs from the image's, if there are several channels, or if a value is neither 0 nor
            in `values` or `background`.
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
        """Map the label maps of one sample."""
        sample = dict(data)
        for key in self.keys:
            stored = sample[key]
            name = sample_name(sample, key)
            if len(stored) != 1:
                raise InputError(f"{name}: expected a label map of one channel, found {len(stored)}")
            if self.image_key is not None and (different := grid_difference(stored, sample[self.image_key])):
                image = sample_name(sample, self.image_key)
                raise InputError(f"{name}: expected the grid of its image {image}, found {different}")
            sample[key] = self._map(stored, name)
        return sample

    def _map(self, stored: torch.Tensor, name: str) -> torch.Tensor:
        labels = torch.zeros_like(stored, dtype=smallest_integer_dtype((0, len(self.values))))
        for label, value in enumerate(self.values, 1):
            labels[stored == value] = label
        unexpected = labels == 0
        for value in self.background:
            unexpected &= stored != value
        if unexpected.any():
            found = sorted({float(v) for v in torch.unique(torch.Tensor.as_subclass(stored, torch.Tensor))})
            shown = ", ".join(f"{v:g}" for v in found[:MAX_SHOWN]) + (" …" if len(found) > MAX_SHOWN else "")
            expected = ", ".join(map(str, (*self.background, *self.values)))
            raise InputError(f"{name}: expected labels among {expected}, found {shown}")
        return labels


class RestoreOriginalGridd(MapTransform):
    """Resample logits, linearly, from the preprocessed grid to the grid of the original file.

    Logits outside the preprocessed field of view are set to 0, which every label manager decodes as background.

    Args:
        keys: keys of logits (C, D, H, W).
        image_key: key of the preprocessed image, with the affine of the logits, ``original_affine`` and
            ``spatial_shape``.
    """

    def __init__(self, keys: KeysCollection = "pred", image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=torch.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the logits of one sample."""
        sample = dict(data)
        image = sample[self.image_key]
        affine = torch.as_tensor(image.meta["original_affine"])
        size = [int(edge) for edge in image.meta["spatial_shape"]]
        for key in self.keys:
            logits = MetaTensor(torch.Tensor.as_subclass(sample[key], torch.Tensor), affine=image.affine)
            sample[key] = self.resample(logits, dst_affine=affine, spatial_size=size)
            sample[key].meta.update(filename_or_obj=image.meta.get("filename_or_obj", ""), original_affine=affine)
            sample[key].meta["spatial_shape"] = torch.tensor(size)
        return sample


class DecodeLogitsd(MapTransform):
    """Convert logits (channels, D, H, W) to a label map (1, D, H, W) of the smallest integer type.

    Args:
        keys: keys of logits.
        label_manager: maps labels to channels of the network.
        values: stored value of label 1, of label 2, and so on; 1, 2, 3 … by default.
    """

    def __init__(self, keys: KeysCollection, label_manager: LabelManager, values: Sequence[int] | None = None) -> None:
        super().__init__(keys)
        self.label_manager = label_manager
        self.values = tuple(values or range(1, 1 + len(label_manager.labels)))
        if len(self.values) != len(label_manager.labels):
            raise InputError(
                f"label_values: expected one for each of {', '.join(label_manager.labels)}, found {list(self.values)}"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert the logits of one sample."""
        sample = dict(data)
        table = torch.tensor((0, *self.values), dtype=smallest_integer_dtype((0, *self.values)))
        for key in self.keys:
            labels = self.label_manager.decode(sample[key][None])[0]
            plain = torch.Tensor.as_subclass(labels, torch.Tensor)
            stored = table.to(plain.device)[plain.long()]
            sample[key] = MetaTensor(stored, meta=sample[key].meta) if isinstance(sample[key], MetaTensor) else stored
        return sample
