"""Batches of slice stacks as a detector is given them: flipped, sized, on their device, boxes alike."""

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


class StackViews(PrepareBatch):
    """Flip stacks left to right and through the slices, and draw a size for each batch.

    A MONAI engine calls it as its ``prepare_batch``. All is drawn by `sample` for the global batch, from (seed, step)
    alone; `apply` is pure. Slices keep their aspect: stacks come as squares. With one size and no flips nothing is
    drawn, as validation wants it.

    Args:
        sizes: edges in pixels that the stacks of a batch may get, all equally likely.
        divisor: what the network wants them to be multiples of.
        flip_chance: chance of either flip.
        seed: seed of all draws.

    Raises:
        InputError: no sizes, or one that is no multiple.
    """

    def __init__(self, sizes: Sequence[int], divisor: int = 1, flip_chance: float = 0.5, seed: int = 0) -> None:
        wrong = [size for size in sizes if type(size) is not int or size < 1 or size % divisor]
        if wrong or not sizes:
            raise InputError(f"image_size, train_sizes: expected multiples of {divisor} pixels, found {list(sizes)}")
        self.sizes = list(sizes)
        self.flip_chance = flip_chance
        self.seed = seed
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Follow the step count of `engine`."""
        self._engine = engine

    def sample(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw for a global batch: "mirrored" and "reversed" (B,), whether to flip either way, and the "size" (1,)."""
        chances = torch.rand(2, batch_size, generator=generator)
        size = self.sizes[int(torch.randint(len(self.sizes), (1,), generator=generator))]
        mirrored, turned = chances < self.flip_chance
        return {"mirrored": mirrored, "reversed": turned, "size": torch.tensor([size])}

    def apply(self, stacks: torch.Tensor, boxes: Sequence[torch.Tensor], params: Params) -> tuple[torch.Tensor, Boxes]:
        """Flip and resize.

        Args:
            stacks: (B, 1, D, S, S).
            boxes: of each (N, 4), in pixels of the stacks.
            params: from `sample`.

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
            batch: under "image" stacks (B, 1, D, S, S), under "boxes" those of each (N, 4), in pixels of the original
                picture, under "scale" (B,) how many pixels of the stacks one of these is.
            step: the engine's iteration.
        """
        stacks = torch.Tensor.as_subclass(batch["image"], torch.Tensor)
        rank, world = distributed.rank(), distributed.world_size()
        drawn = self.sample(len(stacks) * world, torch.Generator().manual_seed(stable_seed(self.seed, step)))
        share = slice(rank * len(stacks), (rank + 1) * len(stacks))
        params = {key: value if key == "size" else value[share] for key, value in drawn.items()}
        boxes = [one * float(scale) for one, scale in zip(batch["boxes"], batch["scale"], strict=True)]
        return self.apply(stacks, boxes, params)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Boxes]:
        """Make inputs and targets for the engine's current iteration; see `make_batch`."""
        drawn = len(self.sizes) > 1 or self.flip_chance > 0
        if drawn and self._engine is None:
            raise RuntimeError("StackViews must be attached to its engine before it runs")
        stacks = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return self.make_batch({**batchdata, "image": stacks}, self._engine.state.iteration if drawn else 0)


def _flip(stacks: torch.Tensor, chosen: torch.Tensor, axis: int) -> torch.Tensor:
    """Flip those of the stacks that are chosen: (B,), on the CPU, so that a GPU need not be waited for."""
    if not chosen.any():
        return stacks
    chosen = chosen.to(stacks.device, non_blocking=True)[:, None, None, None, None]
    return torch.where(chosen, stacks.flip(axis), stacks)


def _mirror(boxes: torch.Tensor, edge: int) -> torch.Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([edge - x2, y1, edge - x1, y2], 1)
