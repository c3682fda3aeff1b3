"""Batch augmentation of slice stacks and their boxes: random flips and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from monai.engines import PrepareBatch

from tools.data.sampler import stable_seed
from tools.utils import distributed
from tools.utils.errors import InputError

Params = dict[str, torch.Tensor]
Boxes = list[torch.Tensor]


class StackAugmentation(PrepareBatch):
    """Random left-right flip, random flip along the slices, and random resizing of each batch.

    This is the ``prepare_batch`` of a MONAI engine. Parameters are drawn for the global batch from (seed, step) only,
    so that results do not depend on the number of processes. With one size and without flips the transform is
    deterministic, for validation.

    Args:
        sizes: sizes in pixels, drawn with equal probability for each batch of square stacks.
        size_divisible: number that all sizes must be a multiple of.
        flip_prob: probability of each flip.
        seed: random seed.

    Raises:
        InputError: if `sizes` is empty, or a size is not a multiple of `size_divisible`.
    """

    def __init__(self, sizes: Sequence[int], size_divisible: int = 1, flip_prob: float = 0.5, seed: int = 0) -> None:
        wrong = [size for size in sizes if type(size) is not int or size < 1 or size % size_divisible]
        if wrong or not sizes:
            raise InputError(
                f"image_size, train_sizes: expected multiples of {size_divisible} pixels, found {list(sizes)}"
            )
        self.sizes = list(sizes)
        self.flip_prob = flip_prob
        self.seed = seed
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Use the iteration count of `engine`."""
        self._engine = engine

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw "mirrored" and "reversed" (B,), whether to flip a stack, and "size" (1,) for a global batch."""
        uniform = torch.rand(2, batch_size, generator=generator)
        size = self.sizes[int(torch.randint(len(self.sizes), (1,), generator=generator))]
        mirrored, reversed_ = uniform < self.flip_prob
        return {"mirrored": mirrored, "reversed": reversed_, "size": torch.tensor([size])}

    def apply(self, stacks: torch.Tensor, boxes: Sequence[torch.Tensor], params: Params) -> tuple[torch.Tensor, Boxes]:
        """Flip and resize stacks and boxes.

        Args:
            stacks: stacks (B, 1, D, S, S).
            boxes: boxes (N, 4) of each stack in pixels of the stacks.
            params: parameters from `sample_params`.

        Returns:
            Stacks (B, 1, D, size, size), and their boxes.
        """
        edge, size = stacks.shape[-1], int(params["size"])
        stacks = _flip(_flip(stacks, params["mirrored"], -1), params["reversed"], 2)
        boxes = [_mirror(one, edge) if flip else one for one, flip in zip(boxes, params["mirrored"], strict=True)]
        if size != edge:
            shrinking = size < edge
            flat = F.interpolate(stacks.flatten(0, 1), (size, size), mode="bilinear", antialias=shrinking)
            stacks, boxes = flat.unflatten(0, stacks.shape[:2]), [one * (size / edge) for one in boxes]
        return stacks, boxes

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, Boxes]:
        """Make the inputs and targets of a step.

        Args:
            batch: stacks "image" (B, 1, D, S, S), "boxes" (N, 4) of each stack in pixels of the original image, and
                "scale" (B,), pixels of the stack per pixel of the original image.
            step: iteration of the engine.
        """
        stacks = torch.Tensor.as_subclass(batch["image"], torch.Tensor)
        rank, world = distributed.rank(), distributed.world_size()
        params = self.sample_params(len(stacks) * world, torch.Generator().manual_seed(stable_seed(self.seed, step)))
        local = slice(rank * len(stacks), (rank + 1) * len(stacks))
        params = {key: value if key == "size" else value[local] for key, value in params.items()}
        boxes = [one * float(scale) for one, scale in zip(batch["boxes"], batch["scale"], strict=True)]
        return self.apply(stacks, boxes, params)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Boxes]:
        """Make the inputs and targets of the engine's current iteration, see `make_batch`."""
        random = len(self.sizes) > 1 or self.flip_prob > 0
        if random and self._engine is None:
            raise RuntimeError("StackAugmentation must be attached to its engine before it runs")
        stacks = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return self.make_batch({**batchdata, "image": stacks}, self._engine.state.iteration if random else 0)


def _flip(stacks: torch.Tensor, chosen: torch.Tensor, axis: int) -> torch.Tensor:
    """Flip the chosen stacks; `chosen` (B,) is on the CPU to avoid a device synchronisation."""
    if not chosen.any():
        return stacks
    chosen = chosen.to(stacks.device, non_blocking=True)[:, None, None, None, None]
    return torch.where(chosen, stacks.flip(axis), stacks)


def _mirror(boxes: torch.Tensor, edge: int) -> torch.Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([edge - x2, y1, edge - x1, y2], 1)
