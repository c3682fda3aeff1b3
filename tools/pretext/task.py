"""Base class of pretext tasks: reproducible random parameters, inputs and targets for a MONAI engine."""

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
    """Base class of pretext tasks, which compute the inputs and targets of a batch.

    A MONAI engine calls the task as its ``prepare_batch``. `sample_params` draws all random parameters of the global
    batch from (seed, step) alone, and `apply` is a pure function of images and parameters. A run can therefore be
    repeated, resumed, or distributed over processes without changing its batches.

    A subclass implements `sample_params` and `apply`, and stores every constructor argument as an attribute of the same
    name. A task with an accuracy also defines `chance` and `top1_correct`. Without an accuracy, the best model is the
    one with the lowest validation loss.

    Args:
        roi_size: edge lengths of the images, in voxels.
        seed: seed of all random parameters.

    Attributes:
        patch_size: edge lengths of the encoder's input, in voxels; default `roi_size`.
    """

    #: accuracy of random guessing; None for a task without accuracy
    chance: float | None = None
    #: content-free images of `tools.shortcuts` on which the accuracy must stay at chance
    controls: Sequence[str] = ()
    #: minimum number of different cases in a batch
    min_cases: int = 1
    #: configuration keys that make a solved task harder
    difficulty_advice: str = ""
    #: whether equal embeddings are a failure of training
    warn_on_collapse: bool = True

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
        """Compute the input of the network and the target of the loss from images (B, C, *roi_size).

        Each is a tensor or a tuple of tensors; the target may be None.
        """

    def top1_correct(self, prediction: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute correctness (1/n for a tie of n) and the mask of valid targets: both (B, Q)."""
        raise NotImplementedError(f"{type(self).__name__} has no accuracy")

    def figure(self, images: torch.Tensor, params: Params, prediction: Any) -> Figure | None:
        """Plot images, targets and predictions; returns None if the task has no figure."""
        return None

    def accuracy(self, prediction: Any, targets: Any) -> torch.Tensor:
        """Compute the top-1 accuracy of each image: (B,); NaN for an image without a valid target."""
        correct, valid = self.top1_correct(prediction, targets)
        return (correct * valid).sum(1) / valid.sum(1)

    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def statistics(self) -> dict[str, Any]:
        """Return the properties of the task by name, printed by the shortcut test."""
        return {}

    def validation(self) -> PretextTask:
        """Return a copy of the task for validation, without jitter and with a separate random stream."""
        task = copy.copy(self)
        task.training = False
        task._engine = None
        return task

    def attach(self, engine: Engine) -> None:
        """Attach to the engine, whose iteration is the step."""
        self._engine = engine

    def draw_params(self, batch_size: int, step: int) -> Params:
        """Draw the parameters of a step for the batch of this process.

        Args:
            batch_size: number of images of this process.
            step: the engine's iteration.
        """
        generator = torch.Generator().manual_seed(stream_seed(self.seed, step, self.training))
        world = distributed.world_size()
        params = self.sample_params(batch_size * world, generator)
        first = distributed.rank() * batch_size
        return {k: v if len(v) == 1 else v[first : first + batch_size] for k, v in params.items()}

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[Any, Any]:
        """Compute input and target of a step.

        Args:
            batch: "image" (B, C, *roi_size) and "case", the B case ids.
            step: the engine's iteration.

        Raises:
            InputError: if the images do not have the size `roi_size`.
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
        """Compute input and target of the engine's current iteration, see `make_batch`."""
        if self._engine is None:
            raise RuntimeError(f"{type(self).__name__} must be attached to an engine before it is called")
        images = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return self.make_batch({**batchdata, "image": images}, self._engine.state.iteration)


def case_numbers(cases: Sequence[str]) -> torch.Tensor:
    """Hash case ids to non-negative integers, equal on every process: (B,), int64."""
    digests = (hashlib.sha256(case.encode(errors="surrogateescape")).digest()[:8] for case in cases)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests])


def stream_seed(seed: int, step: int, training: bool) -> int:
    """Combine seed, step and training flag into a 63-bit seed with the SplitMix64 mixing function."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + step * 2 + training + 1) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & mask
    return (value ^ (value >> 31)) >> 1
