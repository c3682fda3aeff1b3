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
from tools.transfer.export import card_path
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.outputs import check_not_input, output_path
from tools.utils.watchdog import advance, limit_collectives


class BatchMaker(Protocol):
    """``prepare_batch`` function that draws its random parameters from the step of an engine."""

    def attach(self, engine: Engine) -> None:
        """Use the iteration count of `engine`."""

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[Any, Any]:
        """Return the network's inputs and targets of a step."""


def model_paths(models_dir: str | Path, pretrained: str | Path | None) -> tuple[Path, Path]:
    """Return the paths of ``checkpoint.pt`` and ``model.pt``.

    Raises:
        InputError: see `output_path`; also if the pretrained weights are among the output files.
    """
    names = ("checkpoint.pt", "model.pt", "model.json")
    checkpoint, model, card = (output_path(models_dir, name) for name in names)
    earlier = [output_path(models_dir, previous_path(path).name) for path in (checkpoint, model, card)]
    if pretrained is not None:
        check_not_input((checkpoint, model, card, *earlier), (pretrained, card_path(pretrained)))
    return checkpoint, model


def check_engine(engine: Engine, val_interval: int) -> None:
    """Check settings of a trainer that MONAI would ignore silently.

    Raises:
        InputError: for mixed precision on the CPU, accumulation steps that do not divide the steps of an epoch, or a
            run that ends before the first validation.
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
            f"selects the exported model, found {val_interval}"
        )


def prepare_engine(engine: Engine) -> None:
    """Configure a trainer; call it before a checkpoint is loaded."""
    limit_collectives()
    for event in (Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED, Events.ITERATION_COMPLETED):
        engine.add_event_handler(event, advance)
    set_cudnn_benchmark()
    configure_grad_scaler(engine)
    exchange_accumulated_gradients(engine)


def configure_grad_scaler(engine: Engine) -> None:
    """Enable loss scaling for float16 only, since bfloat16 has the range of float32.

    MONAI's trainer scales the loss for both types and trains in float32 without a scaler.
    """
    half = engine.amp_kwargs.get("dtype") is torch.float16
    if engine.scaler is not None and not half:
        engine.scaler = torch.amp.GradScaler(engine.state.device.type, enabled=False)


def exchange_accumulated_gradients(engine: Engine) -> None:
    """Synchronise accumulated gradients once per optimizer step, as `DistributedDataParallel.no_sync` allows.

    MONAI's trainer synchronises them in every iteration.
    """
    if isinstance(engine.network, DistributedDataParallel):

        @engine.on(Events.ITERATION_STARTED)
        def synchronise_last(engine: Engine) -> None:
            complete = engine.state.iteration % engine.accumulation_steps == 0
            engine.network.require_backward_grad_sync = complete


def set_cudnn_benchmark() -> None:
    """Enable cuDNN benchmarking unless deterministic algorithms are required.

    MONAI's ``set_determinism`` disables it in both cases.
    """
    torch.backends.cudnn.deterministic = torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.deterministic


def check_batch_size(network: nn.Module, batch_size: int) -> None:
    """Check that networks with `BatchNorm1d` have more than one image per batch and process.

    Raises:
        InputError: if the batch size is 1 with such a network.
    """
    if batch_size == 1 and any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
        raise InputError(
            "batch_size: expected at least 2 per process, since the network has BatchNorm1d layers, found 1"
        )


def seed_dropout(engine: Engine, seed: int) -> None:
    """Seed the global generator from (seed, step, rank) for reproducible dropout in resumed runs.

    Attach it to the start of every iteration, since data loaders use the same generator.
    """
    torch.manual_seed(stable_seed(seed, engine.state.iteration, distributed.rank()))


def resume_loader(engine: Engine) -> None:
    """Start the loader of a resumed run at the current iteration."""
    engine.state.dataloader.batch_sampler.start = engine.state.iteration
