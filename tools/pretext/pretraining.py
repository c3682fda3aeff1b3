"""Handlers of pretraining runs, combined into one entry of ``train#handlers``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.data.split import Split
from tools.pretext.collapse import CollapseMonitor
from tools.pretext.export import ExportBest
from tools.pretext.preview import Preview
from tools.pretext.probe.handler import LinearProbe
from tools.pretext.saturation import SaturationMonitor
from tools.pretext.settings import pretext_settings
from tools.pretext.task import PretextTask
from tools.training.checkpoint import Checkpoint
from tools.training.divergence import DivergenceCheck, reject_non_finite_score
from tools.training.engine import check_engine, model_paths, prepare_engine, resume_loader, seed_dropout
from tools.training.folders import RunFolders, check_exported, check_space
from tools.training.metrics_table import MetricsTable
from tools.training.profiler import StepProfiler
from tools.training.progress import Progress
from tools.training.restore import stateful_objects, unwrap_model
from tools.training.settings import case_history, content_digest, data_settings, optimizer_settings
from tools.transfer.hub import local_file
from tools.transfer.load import load_encoder
from tools.transfer.origin import read_origin
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.memory import tune_malloc
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

#: metrics of each panel of the curves
CURVES = (
    ("train_loss", "val_loss"),
    ("train_accuracy", "val_accuracy", "chance"),
    ("val_probe", "probe_start", "probe_chance"),
    ("embedding_spread",),
)


class PretrainingHandlers:
    """Handlers of a pretext run: resuming, profiling, monitors, probe, figures, tables, checkpoint and export.

    Args:
        evaluator: validation engine, run by MONAI's ``ValidationHandler`` before these handlers.
        network: pretext network, see `tools.networks.embedding.EmbeddingNetwork`.
        optimizer: optimizer of the trainer.
        scheduler: learning-rate scheduler.
        loss_function: loss of the method; its state is part of the checkpoint.
        task: training task.
        validation_task: task of `evaluator`.
        datasets: training and validation data sets; their voxel hashes are written to the card.
        card: entries of ``model.json`` from the configuration (channels, spacing, intensity, roi, ...).
        models_dir: folder of ``checkpoint.pt``, ``model.pt`` and ``model.json``.
        output_dir: folder of tables and figures.
        settings: configuration keys, besides the keys of card and task, that a resumed run must have in common with the
            original run.
        val_interval: epochs between validations.
        resume: continue from ``checkpoint.pt``.
        pretrained: weights to initialise the encoder with, see `load_encoder`; the card names their origin and licence.
        probe: linear probe, evaluated at every validation.
        split: split that is written to its file at the start of the run.
        method_handlers: handlers of the method by name, attached to the trainer; the state of those with a
            ``state_dict`` is part of the checkpoint.
    """

    def __init__(
        self,
        evaluator: Engine,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        loss_function: nn.Module,
        task: PretextTask,
        validation_task: PretextTask,
        datasets: Sequence[CachedDataset | LazyDataset],
        card: dict[str, Any],
        models_dir: str,
        output_dir: str,
        settings: dict[str, Any],
        val_interval: int = 1,
        resume: bool = False,
        pretrained: str | None = None,
        probe: LinearProbe | None = None,
        split: Mapping[str, Any] | None = None,
        method_handlers: Mapping[str, Any] | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.network = unwrap_model(network)
        self.task = task
        self.validation_task = validation_task
        self.datasets = datasets
        self.card = card
        local = None if pretrained is None else local_file(pretrained)
        checkpoint, self.model = model_paths(models_dir, local)
        self.models_dir, self.output_dir = Path(models_dir), Path(output_dir)
        self.preview = output_path(output_dir, "preview.png")
        self.val_interval = val_interval
        self.pretrained = local
        self.origin = read_origin(local)
        self.probe = probe
        self.split = split
        self.method_handlers = dict(method_handlers or {})
        self.network.encoder.check_size(task.patch_size)
        recorded = {
            **pretext_settings(self.network, task, card, settings),
            "batch_size": settings["batch_size"] * distributed.world_size(),  # over all processes
            **optimizer_settings(optimizer),
            "pretrained": content_digest(local),
            **data_settings(datasets),
        }
        cases = [case["case"] for case in datasets[0].data]
        states = stateful_objects(self.method_handlers)
        self.checkpoint = Checkpoint(
            checkpoint, network, optimizer, scheduler, loss_function, evaluator, recorded, cases, resume, states
        )
        self.folders = RunFolders(self.models_dir, self.output_dir, self.checkpoint.resume_hint)
        self.table = MetricsTable(
            self.output_dir,
            evaluator,
            optimizer,
            {} if task.chance is None else {"chance": task.chance},
            CURVES,
        )

    def attach(self, engine: Engine) -> None:
        """Attach all handlers to the trainer and the evaluator, in the order in which they run."""
        on_cpu = engine.state.device.type == "cpu"
        if on_cpu:
            tune_malloc()
        self.folders.attach(engine)
        engine.add_event_handler(Events.STARTED, self._check)
        engine.add_event_handler(Events.ITERATION_STARTED, seed_dropout, self.card["seed"])
        engine.add_event_handler(Events.STARTED, prepare_engine)
        self.checkpoint.attach(engine)
        engine.add_event_handler(Events.STARTED, self._check_space)
        self.task.attach(engine)
        self.validation_task.attach(self.evaluator)
        engine.add_event_handler(Events.STARTED, self._load_pretrained)
        self.checkpoint.attach_backup(engine)
        for handler in self.method_handlers.values():
            handler.attach(engine)
        if isinstance(self.split, Split):  # a split that a user configured is not written
            engine.add_event_handler(Events.STARTED, lambda _: self.split.write())
        engine.add_event_handler(Events.STARTED, resume_loader)
        profiler = StepProfiler()
        profiler.attach(engine)
        refresh = 1 if on_cpu else 10
        accuracy = None if self.task.chance is None else self._accuracy
        Progress(profiler, accuracy, refresh).attach(engine)
        checkpoint = self.checkpoint
        DivergenceCheck(self.network, checkpoint.optimizer, checkpoint.path, refresh).attach(engine, self.evaluator)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, reject_non_finite_score)
        CollapseMonitor(self.network.projector, warn=self.task.warn_on_collapse).attach(engine)
        if distributed.rank() == 0:
            preview = Preview(self.preview, self.validation_task, self.card.get("slice_axis"))
            preview.attach(self.evaluator, engine)
            ExportBest(self.model, self.network.encoder, self._card).attach(self.evaluator)
            self.table.attach(engine)
            if self.task.chance is not None:
                SaturationMonitor(self.task, self.table).attach(engine)
            if self.probe is not None:
                self.probe.attach(engine, self.evaluator, self.network.encoder, self.table)
            engine.add_event_handler(Events.COMPLETED, self._summary)
        profiler.attach_end(engine)
        self.checkpoint.attach_save(engine)
        self.folders.attach_end(engine)

    def _check(self, engine: Engine) -> None:
        for name, dataset in zip(("training", "validation"), self.datasets, strict=True):
            if len(dataset) < self.task.min_cases:
                raise InputError(
                    f"{name} data: expected at least {self.task.min_cases} different cases, found {len(dataset)}; "
                    "change --val_fraction or pass a --split_file"
                )
        check_engine(engine, self.val_interval)

    def _check_space(self, engine: Engine) -> None:
        if distributed.rank() == 0:
            check_space(self.models_dir, self.checkpoint.size(), self.network.encoder, self.checkpoint.resumed)

    def _accuracy(self, output: dict[str, Any]) -> float:
        return self.task.accuracy(output["pred"], output["label"]).nanmean().item()

    def _load_pretrained(self, engine: Engine) -> None:
        if self.pretrained and not (self.checkpoint.resume and self.checkpoint.path.exists()):
            logger.info(str(load_encoder(self.network.encoder, self.pretrained, expected=self.card)))

    def _card(self) -> dict[str, Any]:
        return self.card | self.origin | case_history(dict(zip(("training", "validation"), self.datasets, strict=True)))

    def _summary(self, engine: Engine) -> None:
        state = self.evaluator.state
        if not state.epoch:  # no validation, as in benchmarks
            return
        check_exported(self.models_dir / "model.pt", state.best_metric_epoch)
        score = f"best validation loss {state.best_metric:.4g} at epoch {state.best_metric_epoch}"
        if self.task.chance is not None:
            score = f"best validation accuracy {state.best_metric:.1%} at epoch {state.best_metric_epoch}"
            score += f" (chance {self.task.chance:.1%})"
        logger.info(
            f"{score}{self._probe_summary(state.best_metric_epoch)}; encoder: {self.model}; figures: {self.output_dir}"
        )

    def _probe_summary(self, epoch: int) -> str:
        """Return the probe score of the exported encoder, for the log; empty without a probe."""
        found = next(
            (row["val_probe"] for row in self.table.rows if row["epoch"] == epoch and "val_probe" in row), None
        )
        if self.probe is None or found is None:
            return ""
        initial = self.probe.initial_score
        before = "" if initial is None else f", before training {initial:.1%}"
        return f"; linear probe of this encoder {found:.1%}{before} (chance {self.probe.chance:.1%})"
