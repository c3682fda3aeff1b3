"""Engine set-up shared by all runs: paths, gradient accumulation, dropout seeds, checks before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tools.data.sampler import stable_seed
from tools.training.folders import previous_path
from tools.transfer.export import contract_path
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.outputs import output_path, refuse_reading


class BatchMaker(Protocol):
    """A ``prepare_batch`` that draws its random parameters from the step of an engine."""

    def attach(self, engine: Engine) -> None:
        """Follow the step count of `engine`."""

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[Any, Any]:
        """Return the network's inputs and targets of a step."""


def model_paths(models_dir: str | Path, pretrained: str | Path | None) -> tuple[Path, Path]:
    """Paths of ``checkpoint.pt`` and ``model.pt``.

    Raises:
        InputError: see `output_path`; also when the weights to start from are among the files to be written.
    """
    names = ("checkpoint.pt", "model.pt", "model.json")
    checkpoint, model, card = (output_path(models_dir, name) for name in names)
    earlier = [output_path(models_dir, previous_path(path).name) for path in (checkpoint, model, card)]
    if pretrained is not None:
        refuse_reading((checkpoint, model, card, *earlier), (pretrained, contract_path(pretrained)))
    return checkpoint, model


def check_engine(engine: Engine, val_interval: int) -> None:
    """Refuse settings of a trainer that would be passed over without a word.

    Raises:
        InputError: mixed precision on the CPU, gradients accumulated over an uneven number of steps, or an epoch count
            that ends before the first validation.
    """
    if engine.amp and engine.state.device.type == "cpu":  # MONAI would train in float32
        raise InputError("amp: mixed precision needs a CUDA device, found cpu; pass --amp False")
    if engine.state.epoch_length % engine.accumulation_steps:
        raise InputError(
            f"accumulation_steps: expected a divisor of steps_per_epoch {engine.state.epoch_length}, found "
            f"{engine.accumulation_steps}"
        )
    if val_interval > engine.state.max_epochs:
        raise InputError(
            f"val_interval: expected at most the {engine.state.max_epochs} epochs of the run, since validation "
            f"chooses what is kept, found {val_interval}"
        )


def prepare_engine(engine: Engine) -> None:
    """Set a trainer up for its run; call it before a checkpoint is loaded."""
    tune_convolutions()
    scale_gradients(engine)
    exchange_accumulated_gradients(engine)


def scale_gradients(engine: Engine) -> None:
    """Scale the loss for float16 alone: bfloat16 has float32's range, no gradient of it is lost.

    MONAI's trainer makes a scaler for either type, and without one trains in float32.
    """
    half = engine.amp_kwargs.get("dtype") is torch.float16
    if engine.scaler is not None and not half:
        engine.scaler = torch.amp.GradScaler(engine.state.device.type, enabled=False)


def exchange_accumulated_gradients(engine: Engine) -> None:
    """Let processes exchange the sum of accumulated gradients, not each: what `DistributedDataParallel.no_sync` is for.

    MONAI's trainer accumulates without it.
    """
    if isinstance(engine.network, DistributedDataParallel):

        @engine.on(Events.ITERATION_STARTED)
        def last_of_them(engine: Engine) -> None:
            complete = engine.state.iteration % engine.accumulation_steps == 0
            engine.network.require_backward_grad_sync = complete


def tune_convolutions() -> None:
    """Let cuDNN time its algorithms and take the fastest, unless deterministic ones are asked for.

    MONAI's ``set_determinism`` forbids that in either case.
    """
    torch.backends.cudnn.deterministic = torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.deterministic


def check_batch_size(network: nn.Module, batch_size: int) -> None:
    """Refuse batches that leave a batch norm of vectors nothing to compare.

    Raises:
        InputError: one image per batch (and process) with such a norm.
    """
    if batch_size == 1 and any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
        raise InputError("batch_size: expected at least 2 per process, features are standardised over it; found 1")


def seed_dropout(engine: Engine, seed: int) -> None:
    """Seed the global generator from (seed, step, rank), so that a resumed run drops what an uninterrupted one does.

    Attach it to the start of every step: a loader draws from the same generator when it starts.
    """
    torch.manual_seed(stable_seed(seed, engine.state.iteration, distributed.rank()))


def place_loader(engine: Engine) -> None:
    """Let a resumed run's loader go on where the run stopped."""
    engine.state.dataloader.batch_sampler.start = engine.state.iteration
