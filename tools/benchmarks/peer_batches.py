"""How others make the batches of our tasks, for comparison only: with numpy, MONAI's transforms, or plain torch.

All start from the same prepared images in memory and end with as many crops, questions and voxels as ours. Where ours
do more, the others are let off: the axis of CPC stays the first, and patches without content are asked about.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai import transforms
from monai.data import DataLoader, Dataset

from tools.benchmarks import reference
from tools.pretext.cpc.task import CPC
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.jigsaw.task import Jigsaw
from tools.pretext.rotation.task import Rotation
from tools.pretext.rpl.task import RelativePatchLocation
from tools.pretext.task import PretextTask

PLANES = ((1, 2), (2, 3), (1, 3))  # of images (C, D, H, W); the first also of pictures (C, H, W)
Batch = tuple[Any, torch.Tensor]


def quarters(label: int) -> tuple[int, tuple[int, int]]:
    """How often, and in which plane, a label of the rotation task turns an image (C, *spatial)."""
    return (label - 1) % 3 + 1, PLANES[(label - 1) // 3]


class Way(ABC):
    """The parts of a batch, image by image.

    Args:
        task: whose batches are made.
        seed: seed of all draws.
    """

    def __init__(self, task: PretextTask, seed: int = 0) -> None:
        self.task = task
        self.rng = np.random.default_rng(seed)
        self.roi = task.roi_size
        if isinstance(task, CPC | Jigsaw | RelativePatchLocation):
            self.cells = task.layout.cells
            self.cell, self.patch = task.layout.stride, task.layout.patch_size

    @abstractmethod
    def crop(self, image: torch.Tensor) -> Any:
        """A random crop (C, *roi_size) of an image (C, *spatial)."""

    @abstractmethod
    def turn(self, crop: Any, label: int) -> Any:
        """One rotation by right angles."""

    @abstractmethod
    def patches(self, crop: Any, standardised: bool) -> Any:
        """All patches of the grid, in raster order: (cells, C, *patch)."""

    @abstractmethod
    def distort(self, crop: Any) -> Any:
        """One view of an exemplar."""

    @abstractmethod
    def stack(self, parts: Sequence[Any]) -> torch.Tensor:
        """One plain float32 tensor of equal parts."""

    def ask(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Crop an image and ask about it: what goes into the network, and labels (V,)."""
        task, crop = self.task, self.crop(image)
        if isinstance(task, Exemplar):
            return self.stack([self.distort(crop), self.distort(crop)]), torch.empty(0)
        if isinstance(task, CPC):
            return self.stack(self.patches(crop, standardised=False)), torch.empty(0)
        labels = torch.from_numpy(self.rng.permutation(len(task.classes))[: task.views_per_volume])
        if isinstance(task, Rotation):
            return self.stack([self.turn(crop, label) for label in labels.tolist()]), labels
        found = self.stack(self.patches(crop, standardised=True))
        if isinstance(task, RelativePatchLocation):
            anchor = int(self.rng.choice(task.anchors.numpy()))
            found = found[[anchor, *(anchor + task.offsets[labels]).tolist()]]
        return found, labels

    def batch(self, inputs: torch.Tensor, labels: torch.Tensor, cases: torch.Tensor) -> Batch:
        """What the network and the loss are given."""
        if isinstance(self.task, Exemplar):
            return inputs, cases
        if isinstance(self.task, CPC):
            return inputs.unflatten(1, self.cells), candidates(self.task, len(inputs))
        return ((inputs, self.task.permutations[labels]) if isinstance(self.task, Jigsaw) else inputs), labels

    def batches(self, images: Sequence[torch.Tensor], batch_size: int) -> Iterator[Batch]:
        """Batches without end, no image twice in one."""
        while True:
            cases = self.rng.permutation(len(images))[:batch_size]
            asked = [self.ask(images[case]) for case in cases]
            yield self.batch(*(torch.stack(parts) for parts in zip(*asked, strict=True)), torch.from_numpy(cases))


class NumpyWay(Way):
    """The statements of `tools.benchmarks.reference`; of an exemplar both views are distorted, as ours are."""

    def crop(self, image: torch.Tensor) -> np.ndarray:
        """A random crop."""
        starts = [self.rng.integers(0, have - want + 1) for have, want in zip(image.shape[1:], self.roi, strict=True)]
        inside = tuple(slice(start, start + want) for start, want in zip(starts, self.roi, strict=True))
        return image.numpy()[(slice(None), *inside)]

    def turn(self, crop: np.ndarray, label: int) -> np.ndarray:
        """One rotation."""
        return np.rot90(crop, *quarters(label)) if label else crop

    def patches(self, crop: np.ndarray, standardised: bool) -> np.ndarray:
        """All patches."""
        patches = reference.crop_grid(crop[0], self.cells[0], self.cell[0] - self.patch[0], self.rng)
        return (reference.standardise(patches) if standardised else patches)[:, None]

    def distort(self, crop: np.ndarray) -> np.ndarray:
        """One view."""
        return reference.distorted(crop[0], self.rng)[None]

    def stack(self, parts: Sequence[np.ndarray]) -> torch.Tensor:
        """One tensor."""
        return torch.from_numpy(np.stack(parts)).float()


class MonaiWay(Way):
    """MONAI's own transforms, image by image, in its dataset and loader."""

    def __init__(self, task: PretextTask, seed: int = 0) -> None:
        super().__init__(task, seed)
        self._crop = transforms.RandSpatialCrop(self.roi, random_size=False)
        self._normalise = transforms.NormalizeIntensity()
        if isinstance(task, CPC | Jigsaw | RelativePatchLocation):
            self._cut = transforms.GridPatch(self.cell)
            self._move = transforms.RandSpatialCrop(self.patch, random_size=False)
        if isinstance(task, Exemplar):
            self._distort = exemplar_transforms(task)

    def crop(self, image: torch.Tensor) -> torch.Tensor:
        """A random crop."""
        return self._crop(image)

    def turn(self, crop: torch.Tensor, label: int) -> torch.Tensor:
        """One rotation."""
        if not label:
            return crop
        times, (first, second) = quarters(label)
        return transforms.Rotate90(times, (first - 1, second - 1))(crop)

    def patches(self, crop: torch.Tensor, standardised: bool) -> list[torch.Tensor]:
        """All patches."""
        cells = self._cut(crop).as_tensor()  # MONAI cannot crop what it cut: it lost the affine
        patches = [self._move(cell) for cell in cells] if self.patch != self.cell else list(cells)
        return [self._normalise(patch) for patch in patches] if standardised else patches

    def distort(self, crop: torch.Tensor) -> torch.Tensor:
        """One view."""
        return self._distort(crop)

    def stack(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor."""
        return torch.stack([transforms.EnsureType(track_meta=False)(part) for part in parts])

    def batches(self, images: Sequence[torch.Tensor], batch_size: int) -> Iterator[Batch]:
        """Batches of MONAI's loader."""

        def sample(item: dict[str, Any]) -> dict[str, torch.Tensor]:
            inputs, labels = self.ask(item["image"])
            return {"inputs": inputs, "labels": labels, "case": torch.tensor(item["case"])}

        data = [{"image": image, "case": case} for case, image in enumerate(images)]
        loader = DataLoader(Dataset(data, sample), batch_size=batch_size, shuffle=True, drop_last=True)
        while True:
            for found in loader:
                yield self.batch(found["inputs"], found["labels"], found["case"])


def exemplar_transforms(task: Exemplar) -> transforms.Compose:
    """Distortions of one view, drawn as often as ours.

    Five in eight are turned by other than right angles or zoomed: 1 - (3/4)³ · 0.85.
    """
    return transforms.Compose(
        [
            *(transforms.RandFlip(0.5, axis) for axis in range(3)),
            *(transforms.RandRotate90(0.25, spatial_axes=(a - 1, b - 1)) for a, b in PLANES),
            transforms.RandAffine(
                0.64, rotate_range=[math.pi] * 3, scale_range=[task.max_zoom] * 3, padding_mode="reflection"
            ),
            transforms.RandScaleIntensityFixedMean(1.0, task.contrast),
            transforms.RandShiftIntensity(task.brightness, prob=1.0),
        ]
    )


class TorchWay(Way):
    """What one would write by hand."""

    def crop(self, image: torch.Tensor) -> torch.Tensor:
        """A random crop."""
        for axis, edge in enumerate(self.roi, 1):
            image = image.narrow(axis, int(self.rng.integers(0, image.shape[axis] - edge + 1)), edge)
        return image

    def turn(self, crop: torch.Tensor, label: int) -> torch.Tensor:
        """One rotation."""
        return torch.rot90(crop, *quarters(label)) if label else crop

    def patches(self, crop: torch.Tensor, standardised: bool) -> torch.Tensor:
        """All patches."""
        jitter = [cell - patch for cell, patch in zip(self.cell, self.patch, strict=True)]
        cut = []
        for place in product(*map(range, self.cells)):
            patch = crop
            for axis, (index, cell, edge, free) in enumerate(zip(place, self.cell, self.patch, jitter, strict=True), 1):
                patch = patch.narrow(axis, index * cell + int(self.rng.integers(0, free + 1)), edge)
            cut.append(patch)
        patches = torch.stack(cut)
        if not standardised:
            return patches
        deviation, mean = torch.std_mean(patches, tuple(range(1, patches.ndim)), keepdim=True)
        return (patches - mean) / deviation

    def distort(self, crop: torch.Tensor) -> torch.Tensor:
        """One view."""
        params = self.task.sample(1, torch.Generator().manual_seed(int(self.rng.integers(2**32))))
        matrix = F.pad(params["matrix"][:, 0].flip(1, 2), (0, 1))
        grid = F.affine_grid(matrix, [1, *crop.shape], align_corners=False)
        view = F.grid_sample(crop[None], grid, padding_mode="reflection", align_corners=False)[0]
        low, high, mean = crop.amin(), crop.amax(), crop.mean()
        contrast, brightness = params["contrast"][0, 0], params["brightness"][0, 0]
        return ((view - mean) * contrast + mean + brightness * (high - low)).clamp(low, high)

    def stack(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor."""
        return parts if isinstance(parts, torch.Tensor) else torch.stack(list(parts))


def candidates(task: CPC, batch_size: int) -> torch.Tensor:
    """The choices of contrastive predictive coding (B, Q, 1 + K), drawn as ours."""
    return task.sample(batch_size, torch.Generator().manual_seed(int(torch.randint(2**32, ()))))["candidates"]


WAYS: dict[str, Callable[[PretextTask], Way]] = {"numpy": NumpyWay, "monai": MonaiWay, "torch": TorchWay}
