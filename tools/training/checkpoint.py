"""Continue a killed run: one file with everything that changes while training, written after every epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from tools.training.divergence import reject_undefined_score
from tools.training.folders import keep_earlier_run
from tools.training.restore import load_network, load_parts, match_layouts, read_checkpoint, unwrap
from tools.training.schedules import ResumableSchedule
from tools.training.settings import plain
from tools.transfer.card import read_card
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.files import atomic_write
from tools.utils.memory import tensor_bytes

logger = logging.getLogger(__name__)


class Checkpoint:
    """Save after every epoch; with `resume`, load before the first.

    No random state is stored: data and task draw from (seed, epoch, step, case).

    Args:
        path: the file, written by rank 0 alone, whole or not at all.
        network: trained network, heads included; a DistributedDataParallel wrapper is looked through.
        optimizer: its moments are kept.
        scheduler: any of PyTorch's, before its first step; see `ResumableSchedule`.
        loss_function: its buffers are kept, such as a memory bank.
        evaluator: its best metric is kept.
        settings: what must be the same for a run to go on, by the names users know; a checkpoint with other values is
            refused. Learning rate and weight decay may change and take effect.
        cases: ids of the training cases, kept so that evaluation can refuse them.
        extra_state: further objects by name whose ``state_dict()`` is kept, such as the teacher of a pretext method.
        resume: continue from `path` if it exists; otherwise the files of an earlier run are kept, see
            `keep_earlier_run`.

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
        self.settings = plain({**settings, "scheduler": type(scheduler).__name__})
        self.cases = list(cases)
        self.resume = resume
        self.resumed = False
        self.own = False  # whether a file at `path` is of this run

    def attach(self, engine: Engine) -> None:
        """Load at the start, before any handler that asks where the run is: attach this one first."""
        engine.add_event_handler(Events.STARTED, self.start)

    def attach_keep(self, engine: Engine) -> None:
        """Keep an earlier run's files: attach this one after all checks that may refuse to start."""
        engine.add_event_handler(Events.STARTED, self.keep)

    def attach_save(self, engine: Engine) -> None:
        """Save at the end of every epoch, after all other files of that epoch: attach this one last."""
        if distributed.rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Continue from the file, if the run is resumed."""
        if distributed.world_size() > 1 and distributed.rank() == 0:
            logger.info(f"if a process ends early, --resume True continues after the last epoch in {self.path}")
        if self.resume and self._found():
            self.load(engine)
            self.resumed = self.own = True
        elif self.resume:
            logger.info(f"nothing to resume at {self.path}; starting from the beginning")

    def keep(self, engine: Engine) -> None:
        """Keep the files of an earlier run, unless it is continued."""
        if distributed.rank() == 0 and not self.resumed:
            keep_earlier_run(self.path.parent, self._is_finished())
        self.own = True

    def _is_finished(self) -> bool:
        """Whether the run at `path` reached its last epoch, as far as the file records it."""
        try:
            return read_checkpoint(self.path)["progress"].get("finished", True)
        except InputError:  # none, or a damaged one
            return True

    def _found(self) -> bool:
        """Whether there is a checkpoint, on every machine or on none."""
        found = distributed.gather_objects(self.path.exists())
        if len({*found}) > 1:
            blind = ", ".join(str(rank) for rank, there in enumerate(found) if not there)
            raise InputError(f"{self.path}: expected where every process sees it, found nothing on ranks {blind}")
        return found[0]

    def advice(self) -> str:
        """Say how a run that ends now goes on."""
        if not self.own or not self.path.exists():
            return "no epoch was finished, so it starts anew"
        epoch = read_checkpoint(self.path)["progress"]["epoch"]
        return f"the same command with --resume True continues after epoch {epoch} ({self.path})"

    def load(self, engine: Engine) -> None:
        """Put network, optimizer, schedule and engine where the last finished epoch left them."""
        settings = {**self.settings, "steps_per_epoch": engine.state.epoch_length, "cases": self.cases}
        content = load_network(self.network, self.path, settings, engine.state.device)
        progress = content["progress"]
        self.optimizer.load_state_dict(
            content["optimizer"] | {"param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        match_layouts(self.optimizer)
        self.schedule.load_state_dict(content["scheduler"], content["optimizer"]["param_groups"])
        load_parts(self.path, content, self.loss_function, self.extra_state)
        if engine.scaler is not None and content["scaler"]:
            engine.scaler.load_state_dict(content["scaler"])
        engine.state.epoch, engine.state.iteration = progress["epoch"], progress["step"]
        if distributed.gather_objects(self._exported_epoch())[0] == progress["best_metric_epoch"]:
            self.evaluator.state.best_metric = progress["best_metric"]
            self.evaluator.state.best_metric_epoch = progress["best_metric_epoch"]
            reject_undefined_score(self.evaluator)
        else:
            logger.info(
                f"{self.path.with_name('model.pt')} is not the best model so far; the next validation writes it"
            )
        finished = progress["epoch"] >= engine.state.max_epochs
        done = "already finished" if finished else "continues after"
        logger.info(f"{self.path}: {done} epoch {progress['epoch']} of {engine.state.max_epochs}")

    def _exported_epoch(self) -> int | None:
        """Epoch of the model beside the checkpoint, or None without one."""
        model = self.path.with_name("model.pt")
        return read_card(model).get("selected", {}).get("epoch") if model.exists() else None

    def save(self, engine: Engine) -> None:
        """Write the file, unless the epoch's validation loss shows that the run has diverged."""
        if self._diverged(engine):
            return
        content = {
            "network": unwrap(self.network).state_dict(),
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
        """Whether the validation loss of this epoch is not finite: the weights are, but cannot be trained further."""
        if self.evaluator.state.epoch != engine.state.epoch:  # not validated
            return False
        loss = float(self.evaluator.state.metrics.get("loss", 0.0))
        if not math.isfinite(loss):
            logger.warning(f"validation loss is {loss}: epoch {engine.state.epoch} is not saved to {self.path}")
        return not math.isfinite(loss)

    def size(self) -> int:
        """Bytes of the file; the optimizer's moments, which its first step makes, are estimated before."""
        moments = self.optimizer.state_dict()["state"] or [
            [weight] * (2 if "betas" in group else bool(group.get("momentum")))
            for group in self.optimizer.param_groups
            for weight in group["params"]
            if weight.requires_grad
        ]
        extra = [part.state_dict() for part in self.extra_state.values()]
        return tensor_bytes([unwrap(self.network).state_dict(), self.loss_function.state_dict(), extra, moments])
