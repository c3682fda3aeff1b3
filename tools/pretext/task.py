"""Base class of pretext tasks: random parameters from (seed, step), inputs and targets for a MONAI engine."""

from __future__ import annotations

import copy
import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.engines import PrepareBatch

from tools.utils import distributed
from tools.utils.errors import InputError

Params = dict[str, torch.Tensor]


class PretextTask(PrepareBatch):
    """Base class of the pretext tasks: inputs and targets of a batch, from parameters that can be drawn again.

    A MONAI engine calls the task as its ``prepare_batch``. `sample_params` draws all random parameters of the global
    batch from (seed, step) alone, and `apply` is a pure function of images and parameters. A run can therefore be
    repeated, resumed, or split over processes without a change of its batches.

    A subclass must define `sample_params` and `apply`, and keep every argument of its constructor as an attribute of
    the same name. Everything else has a default. A task whose answers are right or wrong defines `chance` and
    `top1_correct`; without them there is no accuracy, and the best model is that of the lowest validation loss.

    Args:
        roi_size: edge lengths of the images, in voxels.
        seed: seed of all random parameters.

    Attributes:
        patch_size: edge lengths of the encoder's input, in voxels; default `roi_size`.
    """

    #: accuracy of random guessing; None for a task without right answers
    chance: float | None = None
    #: content-free images of `tools.shortcuts` on which the accuracy must stay at chance
    controls: Sequence[str] = ()
    #: different cases that a batch needs
    min_cases: int = 1
    #: keys of a bundle that make a solved task harder
    harder: str = ""
    #: whether equal embeddings mean that nothing is learnt
    warns_of_collapse: bool = True

    def __init__(self, roi_size: Sequence[int], seed: int = 0) -> None:
        self.roi_size = tuple(int(edge) for edge in roi_size)
        self.seed = seed
        self.patch_size = self.roi_size
        self.training = True
        self.params: Params = {}
        self._engine: Engine | None = None

    @abstractmethod
    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the parameters of a global batch; dim 0 of every tensor is the batch or has length 1."""

    @abstractmethod
    def apply(self, images: torch.Tensor, params: Params) -> tuple[Any, Any]:
        """Make the input of the network and the target of the loss from images (B, C, *roi_size).

        Each is a tensor or a tuple of tensors; the target may be None.
        """

    def top1_correct(self, prediction: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each answer is right, 1/n for a tie of n, and the mask of valid targets: both (B, Q)."""
        raise NotImplementedError(f"{type(self).__name__} has no right answers")

    def figure(self, images: torch.Tensor, params: Params, prediction: Any) -> Figure | None:
        """Draw images, targets and predictions; None for no figure."""
        return None

    def accuracy(self, prediction: Any, targets: Any) -> torch.Tensor:
        """Top-1 accuracy of each image: (B,); NaN for an image without a valid target."""
        correct, valid = self.top1_correct(prediction, targets)
        return (correct * valid).sum(1) / valid.sum(1)

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def statistics(self) -> dict[str, Any]:
        """Properties of the task by name, which the shortcut test prints."""
        return {}

    def validation(self) -> PretextTask:
        """Copy of the task for validation: no jitter, and random parameters of their own."""
        task = copy.copy(self)
        task.training = False
        task._engine = None
        return task

    def attach(self, engine: Engine) -> None:
        """Follow the step count of `engine`."""
        self._engine = engine

    def draw_params(self, batch_size: int, step: int) -> Params:
        """Draw the parameters of a step for the batch of this process.

        Args:
            batch_size: images on this process.
            step: the engine's iteration.
        """
        generator = torch.Generator().manual_seed(stream_seed(self.seed, step, self.training))
        world = distributed.world_size()
        params = self.sample_params(batch_size * world, generator)
        first = distributed.rank() * batch_size
        return {k: v if len(v) == 1 else v[first : first + batch_size] for k, v in params.items()}

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[Any, Any]:
        """Make input and target of a step.

        Args:
            batch: under "image" (B, C, *roi_size), under "case" the B ids of their cases.
            step: the engine's iteration.
        """
        images = torch.Tensor.as_subclass(batch["image"], torch.Tensor)
        if tuple(images.shape[2:]) != self.roi_size:
            raise InputError(f"image: expected crops of {list(self.roi_size)}, found {list(images.shape[2:])}")
        self.params = {**self.draw_params(len(images), step), "case": case_numbers(batch["case"])}
        return self.apply(images, self.params)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """Make input and target of the engine's current iteration; see `make_batch`."""
        if self._engine is None:
            raise RuntimeError(f"{type(self).__name__} must be attached to its engine before it runs")
        images = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return self.make_batch({**batchdata, "image": images}, self._engine.state.iteration)


def case_numbers(cases: Sequence[str]) -> torch.Tensor:
    """Number cases so that equal ids have equal numbers on every process: (B,), int64, not negative."""
    digests = (hashlib.sha256(case.encode(errors="surrogateescape")).digest()[:8] for case in cases)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests])


def stream_seed(seed: int, step: int, training: bool) -> int:
    """Mix (seed, step, training or validation) into one 63-bit seed (the finaliser of SplitMix64)."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + step * 2 + training + 1) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & mask
    return (value ^ (value >> 31)) >> 1
