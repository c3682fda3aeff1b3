"""Handlers of fine-tuning, shared by all downstream bundles."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from tools.data.cache.dataset import CachedDataset
from tools.data.sampler import SeededTransformDataset
from tools.data.split import Split
from tools.training.checkpoint import Checkpoint
from tools.training.divergence import DivergenceCheck, reject_non_finite_score
from tools.training.engine import (
    BatchMaker,
    check_batch_size,
    check_engine,
    model_paths,
    prepare_engine,
    resume_loader,
    seed_dropout,
)
from tools.training.folders import RunFolders, check_exported, check_space
from tools.training.metrics_table import MetricsTable
from tools.training.profiler import StepProfiler
from tools.training.progress import Progress
from tools.training.protocol import WITHOUT_ENCODER, TransferProtocol
from tools.training.restore import unwrap_model
from tools.training.settings import case_history, content_digest, data_settings, encoder_settings, optimizer_settings
from tools.transfer.comparison import seen_cases
from tools.transfer.export import export_weights
from tools.transfer.hub import local_file
from tools.transfer.load import load_encoder
from tools.transfer.origin import read_origin
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.memory import tune_malloc

logger = logging.getLogger(__name__)


class FinetuningHandlers:
    """Loading of the encoder, transfer protocol, progress, metrics, figures, checkpoint and export of a downstream run.

    Args:
        evaluator: validation engine, run by MONAI's ``ValidationHandler`` before these handlers; its key metric selects
            the exported model.
        network: trained network with the attribute ``encoder``.
        optimizer: optimizer of the trainer.
        scheduler: learning-rate schedule.
        loss_function: loss function; its state is part of the checkpoint.
        datasets: training and validation data; their voxel hashes are part of the card.
        test_cases: function that returns ids and voxel hashes of the test cases; only called if an encoder is loaded.
        card: entries of ``model.json`` from the configuration (labels, channels, spacing, intensity, ...).
        models_dir: folder of ``checkpoint.pt``, ``model.pt`` and ``model.json``.
        output_dir: folder of tables and figures.
        settings: further settings that a resumed run must share with the run it continues.
        figures: handlers of the evaluator that write figures.
        protocol: transfer protocol, see `TransferProtocol`.
        freeze_epochs: number of epochs with a frozen encoder with the protocol ``freeze_then_finetune``.
        pretrained: weights of the encoder, see `load_encoder`; their origin and licence become part of the card.
        allow_test_leakage: whether to load encoders that were pretrained on test cases.
        val_interval: number of epochs between validations.
        resume: whether to continue from ``checkpoint.pt``.
        task: makes inputs and targets of a batch from random parameters of the step, or None.
        split: split whose file is written when the run starts.
    """

    def __init__(
        self,
        evaluator: Engine,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        loss_function: nn.Module,
        datasets: tuple[SeededTransformDataset, CachedDataset],
        test_cases: Callable[[], Sequence[dict[str, Any]]],
        card: dict[str, Any],
        models_dir: str,
        output_dir: str,
        settings: dict[str, Any],
        figures: Sequence[Any] = (),
        protocol: str = "scratch",
        freeze_epochs: int = 2,
        pretrained: str | None = None,
        allow_test_leakage: bool = False,
        val_interval: int = 1,
        resume: bool = False,
        task: BatchMaker | None = None,
        split: Mapping[str, Any] | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.task = task
        self.split = split
        self.network = unwrap_model(network)
        self.datasets = {"training": datasets[0].dataset, "validation": datasets[1]}
        self.test_cases = test_cases
        self.card = card
        local = None if pretrained is None else local_file(pretrained)
        checkpoint, self.model = model_paths(models_dir, local)
        self.models_dir, self.output_dir = Path(models_dir), Path(output_dir)
        self.figures = figures
        self.protocol = TransferProtocol(self.network.encoder, protocol, freeze_epochs)
        self.pretrained, self.weights = pretrained, local
        self.origin = read_origin(local)
        self.allow_test_leakage = allow_test_leakage
        self.val_interval = val_interval
        self._check_protocol()
        check_batch_size(self.network, settings["batch_size"])
        self.network.encoder.check_size(card["roi_size"])
        self._warn_about_duplicates()
        recorded = {**card, **settings, **encoder_settings(self.network.encoder.arguments)}
        del recorded["epochs"]
        recorded["batch_size"] = settings["batch_size"] * distributed.world_size()  # global batch size
        start = {
            "protocol": protocol,
            "freeze_epochs": freeze_epochs if protocol == "freeze_then_finetune" else 0,
            "pretrained": content_digest(local),
        }
        self.checkpoint = Checkpoint(
            checkpoint,
            network,
            optimizer,
            scheduler,
            loss_function,
            evaluator,
            {**recorded, **optimizer_settings(optimizer), **start, **data_settings([*self.datasets.values()])},
            [case["case"] for case in self.datasets["training"].data],
            resume,
        )
        self.folders = RunFolders(self.models_dir, self.output_dir, self.checkpoint.resume_hint)
        self.table = MetricsTable(self.output_dir, evaluator, optimizer, {}, (("train_loss", "val_loss"), ("val_*",)))

    def _check_protocol(self) -> None:
        without = self.protocol.protocol in WITHOUT_ENCODER
        if without == bool(self.pretrained):
            found = f"protocol {self.protocol.protocol} and " + ("an" if self.pretrained else "no") + " encoder"
            raise InputError(
                f"pretrained: expected an encoder unless the protocol is {' or '.join(WITHOUT_ENCODER)}, found {found}"
            )

    def _warn_about_duplicates(self) -> None:
        """Print a warning if validation cases have the same voxels as training cases, as in some public data sets."""
        training, validation = (self.datasets[part].hashes for part in ("training", "validation"))
        duplicates = seen_cases({"cases": training}, validation)
        if duplicates and distributed.rank() == 0:
            named = ", ".join(f"{one} (as {other})" for other, one in duplicates[:3])
            print(f"warning: {len(duplicates)} validation cases are duplicates of training cases: {named}")

    def attach(self, engine: Engine) -> None:
        """Attach all handlers in their order of execution."""
        on_cpu = engine.state.device.type == "cpu"
        if on_cpu:
            tune_malloc()
        self.folders.attach(engine)
        if self.task is not None:
            self.task.attach(engine)
        engine.add_event_handler(Events.STARTED, check_engine, self.val_interval)
        engine.add_event_handler(Events.ITERATION_STARTED, seed_dropout, self.card["seed"])
        self.evaluator.add_event_handler(Events.STARTED, lambda _: distributed.broadcast_buffers(self.network))
        engine.add_event_handler(Events.STARTED, prepare_engine)
        self.checkpoint.attach(engine)
        engine.add_event_handler(Events.STARTED, self._check_space)
        engine.add_event_handler(Events.STARTED, self._load_pretrained)
        self.checkpoint.attach_backup(engine)
        if isinstance(self.split, Split):  # not a user's split file
            engine.add_event_handler(Events.STARTED, lambda _: self.split.write())
        engine.add_event_handler(Events.STARTED, resume_loader)
        self.protocol.attach(engine)
        profiler = StepProfiler()
        profiler.attach(engine)
        refresh = 1 if on_cpu else 10
        Progress(profiler, refresh=refresh).attach(engine)
        checkpoint = self.checkpoint
        DivergenceCheck(self.network, checkpoint.optimizer, checkpoint.path, refresh).attach(engine, self.evaluator)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, reject_non_finite_score)
        for figure in self.figures:
            figure.attach(self.evaluator)
        if distributed.rank() == 0:
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._export)
            self.table.attach(engine)
            engine.add_event_handler(Events.COMPLETED, self._summary)
        profiler.attach_end(engine)
        self.checkpoint.attach_save(engine)
        self.folders.attach_end(engine)

    def _check_space(self, engine: Engine) -> None:
        if distributed.rank() == 0:
            check_space(self.models_dir, self.checkpoint.size(), self.network, self.checkpoint.resumed)

    def _load_pretrained(self, engine: Engine) -> None:
        if not self.pretrained or (self.checkpoint.resume and self.checkpoint.path.exists()):
            return
        report = load_encoder(
            self.network.encoder,
            self.weights,
            expected=self.card,
            test_cases=self.test_cases(),
            allow_test_leakage=self.allow_test_leakage,
        )
        logger.info(str(report))

    def _export(self, evaluator: Engine) -> None:
        """Export the network whenever the key metric improves."""
        state = evaluator.state
        if state.best_metric_epoch == state.epoch:
            selected = {"epoch": state.epoch} | {name: float(value) for name, value in state.metrics.items()}
            start = {"protocol": self.protocol.protocol, "pretrained": self.pretrained, "selected": selected}
            encoder = {"encoder": self.network.encoder.arguments}
            card = self.card | encoder | start | self.origin | case_history(self.datasets)
            export_weights(self.network, self.model, card)

    def _summary(self, engine: Engine) -> None:
        state = self.evaluator.state
        if not state.epoch:  # no validation, as in benchmarks
            return
        check_exported(self.models_dir / "model.pt", state.best_metric_epoch)
        logger.info(
            f"best validation {state.key_metric_name.replace('_', ' ')} {state.best_metric:.3f} at epoch "
            f"{state.best_metric_epoch}; network: {self.model}; figures: {self.output_dir}"
        )
