"""Handler that saves and restores the whole training state: weights, optimizer, schedule, epoch, best metric."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from tools.training.divergence import reject_non_finite_score
from tools.training.folders import backup_earlier_run
from tools.training.restore import load_extra_state, load_network, match_memory_format, read_checkpoint, unwrap_model
from tools.training.schedules import ResumableSchedule
from tools.training.settings import to_json_types
from tools.transfer.card import read_card
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.memory import tensor_bytes

logger = logging.getLogger(__name__)


class Checkpoint:
    """Handler that saves the training state after every epoch and loads it when a run is resumed.

    No random state is saved, since data and task derive their random numbers from (seed, epoch, step, case).

    Args:
        path: path of the file, which rank 0 writes atomically.
        network: trained network including heads; a DistributedDataParallel wrapper is removed.
        optimizer: optimizer, whose state is saved.
        scheduler: any PyTorch scheduler before its first step, see `ResumableSchedule`.
        loss_function: loss function, whose buffers are saved, for example a memory bank.
        evaluator: validation engine, whose best metric is saved.
        settings: settings by key that a resumed run must share with the checkpoint. Learning rate and weight decay are
            not among them: they may change.
        cases: ids of the training cases, saved so that evaluation can refuse them.
        extra_state: further objects by name whose ``state_dict()`` is saved, for example the teacher of a method.
        resume: whether to continue from `path` if it exists; otherwise the files of an earlier run are backed up, see
            `backup_earlier_run`.

    Attributes:
        resumed: whether the run continues from `path`.
    """

    def __init__(
        self,
        path: str | Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        loss_function: nn.Module,
        evaluator: Engine,
        settings: dict[str, Any],
        cases: Sequence[str],
        resume: bool = False,
        extra_state: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.optimizer = optimizer
        self.schedule = ResumableSchedule(scheduler, optimizer)
        self.loss_function = loss_function
        self.extra_state = dict(extra_state or {})
        self.evaluator = evaluator
        self.settings = to_json_types({**settings, "scheduler": type(scheduler).__name__})
        self.cases = list(cases)
        self.resume = resume
        self.resumed = False
        self.owns_path = False  # whether a file at `path` belongs to this run

    def attach(self, engine: Engine) -> None:
        """Attach loading; call this before attaching handlers that read the epoch or step."""
        engine.add_event_handler(Events.STARTED, self.start)

    def attach_backup(self, engine: Engine) -> None:
        """Attach the backup of an earlier run; call this after attaching all checks that may stop the run."""
        engine.add_event_handler(Events.STARTED, self.back_up)

    def attach_save(self, engine: Engine) -> None:
        """Attach saving; call this last, so that all other files of an epoch are written before the checkpoint."""
        if distributed.rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Load the checkpoint if the run is resumed and the file exists."""
        if distributed.world_size() > 1 and distributed.rank() == 0:
            logger.info(f"if a process ends early, --resume True continues after the last epoch in {self.path}")
        if self.resume and self._found():
            self.load(engine)
            self.resumed = self.owns_path = True
        elif self.resume:
            logger.info(f"nothing to resume at {self.path}; starting from the beginning")

    def back_up(self, engine: Engine) -> None:
        """Back up the files of an earlier run, unless it is resumed."""
        if distributed.rank() == 0 and not self.resumed:
            backup_earlier_run(self.path.parent, self._is_finished())
        self.owns_path = True

    def _is_finished(self) -> bool:
        """Return whether the run at `path` reached its last epoch; True if the file does not record it."""
        try:
            return read_checkpoint(self.path)["progress"].get("finished", True)
        except InputError:  # missing or damaged
            return True

    def _found(self) -> bool:
        """Return whether the checkpoint exists; raise an `InputError` if only some ranks find it."""
        found = distributed.gather_objects(self.path.exists())
        if len({*found}) > 1:
            missing = ", ".join(str(rank) for rank, exists in enumerate(found) if not exists)
            raise InputError(f"{self.path}: expected a file that every process can read, found none on ranks {missing}")
        return found[0]

    def resume_hint(self) -> str:
        """Return how to continue a run that ends now."""
        if not self.owns_path or not self.path.exists():
            return "no epoch was finished, so --resume True would start from the beginning"
        epoch = read_checkpoint(self.path)["progress"]["epoch"]
        return f"the same command with --resume True continues after epoch {epoch} ({self.path})"

    def load(self, engine: Engine) -> None:
        """Load the state of network, optimizer, schedule and engine after the last finished epoch."""
        settings = {**self.settings, "steps_per_epoch": engine.state.epoch_length, "cases": self.cases}
        content = load_network(self.network, self.path, settings, engine.state.device)
        progress = content["progress"]
        self.optimizer.load_state_dict(
            content["optimizer"] | {"param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        match_memory_format(self.optimizer)
        self.schedule.load_state_dict(content["scheduler"], content["optimizer"]["param_groups"])
        load_extra_state(self.path, content, self.loss_function, self.extra_state)
        if engine.scaler is not None and content["scaler"]:
            engine.scaler.load_state_dict(content["scaler"])
        engine.state.epoch, engine.state.iteration = progress["epoch"], progress["step"]
        if distributed.gather_objects(self._exported_epoch())[0] == progress["best_metric_epoch"]:
            self.evaluator.state.best_metric = progress["best_metric"]
            self.evaluator.state.best_metric_epoch = progress["best_metric_epoch"]
            reject_non_finite_score(self.evaluator)
        else:
            logger.info(f"{self.path.with_name('model.pt')} is not the best model; the next validation replaces it")
        finished = progress["epoch"] >= engine.state.max_epochs
        done = "already finished" if finished else "continues after"
        logger.info(f"{self.path}: {done} epoch {progress['epoch']} of {engine.state.max_epochs}")

    def _exported_epoch(self) -> int | None:
        """Return the epoch of the model next to the checkpoint, or None without a model."""
        model = self.path.with_name("model.pt")
        return read_card(model).get("selected", {}).get("epoch") if model.exists() else None

    def save(self, engine: Engine) -> None:
        """Save the checkpoint, unless the validation loss of the epoch is not finite."""
        if self._diverged(engine):
            return
        content = {
            "network": unwrap_model(self.network).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.schedule.state_dict(),
            "loss_function": self.loss_function.state_dict(),
            "extra_state": {name: part.state_dict() for name, part in self.extra_state.items()},
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
            "settings": {**self.settings, "steps_per_epoch": engine.state.epoch_length},
            "cases": self.cases,
            "progress": {
                "epoch": engine.state.epoch,
                "step": engine.state.iteration,
                "finished": engine.state.epoch >= engine.state.max_epochs,
                "best_metric": float(self.evaluator.state.best_metric),
                "best_metric_epoch": self.evaluator.state.best_metric_epoch,
            },
        }
        with atomic_write(self.path, tensor_bytes(content)) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)

    def _diverged(self, engine: Engine) -> bool:
        """Return whether the validation loss of this epoch is not finite, which can happen with finite weights."""
        if self.evaluator.state.epoch != engine.state.epoch:  # not validated
            return False
        loss = float(self.evaluator.state.metrics.get("loss", 0.0))
        if not math.isfinite(loss):
            logger.warning(f"validation loss is {loss}: epoch {engine.state.epoch} is not saved to {self.path}")
        return not math.isfinite(loss)

    def size(self) -> int:
        """Return the file size in bytes; before the first step, the size of the optimizer's state is estimated."""
        moments = self.optimizer.state_dict()["state"] or [
            [weight] * (2 if "betas" in group else bool(group.get("momentum")))
            for group in self.optimizer.param_groups
            for weight in group["params"]
            if weight.requires_grad
        ]
        extra = [part.state_dict() for part in self.extra_state.values()]
        return tensor_bytes([unwrap_model(self.network).state_dict(), self.loss_function.state_dict(), extra, moments])
