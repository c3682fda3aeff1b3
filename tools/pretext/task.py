"""What all pretext tasks share: randomness that can be replayed, and the place in a MONAI engine."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.engines import PrepareBatch

from tools import distributed

Params = dict[str, torch.Tensor]


class PretextTask(PrepareBatch):
    """A self-supervised task: it turns a batch of images into network inputs and targets.

    A MONAI engine calls the task as its ``prepare_batch``. All randomness is drawn by `sample`, as tensors, for the
    global batch and from (seed, step) alone; `apply` is a pure function of images and parameters. A run can so be
    replayed, resumed, or split over processes without changing what the network is asked.

    Args:
        seed: seed of all draws.
    """

    #: accuracy of an answer drawn without looking
    chance: float

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.training = True
        self.params: Params = {}
        self._engine: Engine | None = None

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the parameters of a batch; every tensor's dim 0 is the batch or has length 1."""

    @abstractmethod
    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Make network inputs and targets from images (B, C, *spatial) and their parameters."""

    @abstractmethod
    def accuracy(self, prediction: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Accuracy on each image, an n-fold tie counting 1/n: (B,); nan where nothing was asked."""

    @abstractmethod
    def preview(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw what went in, what was asked and what the network answered."""

    def validation(self) -> PretextTask:
        """Return the task as validation uses it: same geometry without jitter, a fixed stream of draws."""
        task = copy.copy(self)
        task.training = False
        task._engine = None
        return task

    def attach(self, engine: Engine) -> None:
        """Follow the step count of `engine`."""
        self._engine = engine

    def draw(self, batch_size: int, step: int) -> Params:
        """Draw this process's parameters of a step.

        Args:
            batch_size: images on this process.
            step: the engine's iteration.
        """
        generator = torch.Generator().manual_seed(stream_seed(self.seed, step, self.training))
        world = distributed.world_size()
        params = self.sample(batch_size * world, generator)
        first = distributed.rank() * batch_size
        return {k: v if len(v) == 1 else v[first : first + batch_size] for k, v in params.items()}

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make inputs and targets for the engine's current iteration; `batchdata["image"]` is (B, C, *spatial)."""
        if self._engine is None:
            raise RuntimeError(f"{type(self).__name__} must be attached to its engine before it runs")
        images = torch.Tensor.as_subclass(batchdata["image"], torch.Tensor)
        images = images.to(device=device, non_blocking=non_blocking, **kwargs)
        self.params = self.draw(len(images), self._engine.state.iteration)
        return self.apply(images, self.params)


def stream_seed(seed: int, step: int, training: bool) -> int:
    """Mix (seed, step, training or validation) into one 63-bit seed (the finaliser of SplitMix64)."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + step * 2 + training + 1) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & mask
    return (value ^ (value >> 31)) >> 1
