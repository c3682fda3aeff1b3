"""What all pretext tasks share: randomness that can be replayed, and the place in a MONAI engine."""

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
    """A self-supervised task: it turns a batch of images into network inputs and targets.

    A MONAI engine calls the task as its ``prepare_batch``. All randomness is drawn by `sample`, as tensors, for the
    global batch and from (seed, step) alone; `apply` is a pure function of images and parameters. A run can so be
    replayed, resumed, or split over processes without changing what the network is asked.

    A subclass keeps every argument of its constructor as an attribute of the same name.

    Args:
        roi_size: edge lengths of the images, in voxels.
        seed: seed of all draws.

    Attributes:
        patch_size: edge lengths of what the encoder sees at once, in voxels.
        chance: accuracy of an answer drawn without looking.
    """

    #: content-free volumes of `tools.shortcuts` on which an honest task stays at chance
    gates: Sequence[str] = ("constant", "white noise")
    #: different cases a question needs
    min_cases: int = 1
    #: keys of a bundle that make the questions harder, once they are solved; empty where none does
    harder: str = ""
    #: whether equal embeddings of all that is asked about would mean that nothing is learnt
    compares_embeddings: bool = True
    patch_size: tuple[int, ...]
    chance: float

    def __init__(self, roi_size: Sequence[int], seed: int = 0) -> None:
        self.roi_size = tuple(int(edge) for edge in roi_size)
        self.seed = seed
        self.training = True
        self.params: Params = {}
        self._engine: Engine | None = None

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the parameters of a batch; every tensor's dim 0 is the batch or has length 1."""

    @abstractmethod
    def apply(self, images: torch.Tensor, params: Params) -> tuple[Any, torch.Tensor]:
        """Make the network's input (a tensor or a tuple) and the targets from images (B, C, *roi_size)."""

    @abstractmethod
    def credit(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Credit of every question, an n-fold tie earning 1/n, and whether it was asked: both (B, Q)."""

    @abstractmethod
    def preview(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw what went in, what was asked and what the network answered."""

    def accuracy(self, prediction: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean credit of each image's questions: (B,); nan where nothing was asked."""
        credit, asked = self.credit(prediction, targets)
        return (credit * asked).sum(1) / asked.sum(1)

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor by name: what makes two runs ask the same."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def statistics(self) -> dict[str, Any]:
        """Figures about the task itself, for the audit."""
        return {}

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

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[Any, torch.Tensor]:
        """Draw the parameters of a step and apply them.

        Args:
            batch: under "image" (B, C, *roi_size), under "case" the B ids of their cases.
            step: the engine's iteration.
        """
        images = torch.Tensor.as_subclass(batch["image"], torch.Tensor)
        if tuple(images.shape[2:]) != self.roi_size:
            raise InputError(f"image: expected crops of {list(self.roi_size)}, found {list(images.shape[2:])}")
        self.params = {**self.draw(len(images), step), "case": case_numbers(batch["case"])}
        return self.apply(images, self.params)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, torch.Tensor]:
        """Make inputs and targets for the engine's current iteration; see `make_batch`."""
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
