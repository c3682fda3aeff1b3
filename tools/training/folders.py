"""Output folders of a run: exclusive use, files of earlier runs, disk space and exported models."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from tools.training.run_folder import RunFolder, claim_folders
from tools.transfer.card import read_card
from tools.transfer.export import card_path
from tools.utils.errors import InputError, WriteError, find_input_error
from tools.utils.files import atomic_write, format_size, free_space
from tools.utils.memory import tensor_bytes

logger = logging.getLogger(__name__)


class RunFolders:
    """Handler that locks the output folders at the start, checks them after every epoch and releases them at the end.

    Args:
        models_dir: folder of checkpoint and model.
        output_dir: folder of tables and figures.
        resume_hint: function that returns how to continue the run; added to errors of files that cannot be written.
    """

    def __init__(self, models_dir: str | Path, output_dir: str | Path, resume_hint: Callable[[], str]) -> None:
        self.models_dir, self.output_dir = models_dir, output_dir
        self.resume_hint = resume_hint
        self.claimed: list[RunFolder] = []

    def attach(self, engine: Engine) -> None:
        """Attach the first handlers, before any handler that writes files."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_output)
        engine.add_event_handler(Events.COMPLETED, self.check)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def attach_end(self, engine: Engine) -> None:
        """Attach the last handlers, after all handlers that write files."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)
        engine.add_event_handler(Events.COMPLETED, self.release)

    def start(self, engine: Engine) -> None:
        """Lock the folders, unless the configuration has already reserved them."""
        self.claimed = claim_folders(self.models_dir, self.output_dir)
        for folder in self.claimed:
            folder.in_use = True

    def check(self, engine: Engine) -> None:
        """Raise a `WriteError` if a folder was removed during the run."""
        for folder in self.claimed:
            folder.check()

    def check_output(self, engine: Engine) -> None:
        """Raise a `WriteError` if ``output_dir`` was removed; TensorBoard would print a traceback.

        ``models_dir`` is checked when the epoch's checkpoint is written, so that the run can continue from there.
        """
        for folder in self.claimed[1:]:
            folder.check()

    def release(self, engine: Engine) -> None:
        """Release the folders for other runs."""
        for folder in self.claimed:
            folder.in_use = False
            folder.release()

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Release the folders; add advice on continuing to an interruption or a write error."""
        self.release(engine)
        print(file=sys.stderr)  # so that the message starts below the progress bar
        found = find_input_error(error)
        if isinstance(found, WriteError):
            raise InputError(f"{found}; {self.resume_hint()}") from error
        if isinstance(error, KeyboardInterrupt):
            error.add_note(self.resume_hint())
        raise error


def backup_earlier_run(models_dir: Path, finished: bool) -> None:
    """Back up checkpoint, model and card of an earlier run as ``*.previous.*``.

    Model and card are copied, so that ``model.pt`` exists until the new run exports its own.

    Args:
        models_dir: folder of the models.
        finished: whether the earlier run reached its last epoch. The model of an unfinished run does not replace an
            existing backup.
    """
    model, checkpoint = models_dir / "model.pt", models_dir / "checkpoint.pt"
    backups = []
    if model.exists() and (finished or not previous_path(model).exists()):
        pair = [path for path in (model, card_path(model)) if path.exists()]
        with ExitStack() as files:  # replaced together, so that card and weights match
            for path in pair:
                copy = files.enter_context(atomic_write(previous_path(path), path.stat().st_size))
                copy.write_bytes(path.read_bytes())
        if len(pair) < 2:
            previous_path(card_path(model)).unlink(missing_ok=True)
        backups += [previous_path(path).name for path in pair]
    if checkpoint.exists():
        checkpoint.replace(previous_path(checkpoint))
        backups.append(previous_path(checkpoint).name)
    if backups:
        logger.info(f"{models_dir}: files of the earlier run are backed up as {', '.join(backups)}")


def previous_path(path: Path) -> Path:
    """Return the path of the backup of a file of an earlier run."""
    return path.with_suffix(f".previous{path.suffix}")


def check_space(models_dir: Path, checkpoint_size: int, exported: nn.Module, resumed: bool) -> None:
    """Check that the disk has enough space for checkpoint and model.

    Space is needed for two checkpoints, since a new one is written before the old one is replaced.

    Args:
        models_dir: folder of ``checkpoint.pt`` and ``model.pt``.
        checkpoint_size: size of the checkpoint in bytes.
        exported: module that is exported to ``model.pt``.
        resumed: whether existing files are replaced; otherwise they are backed up, and existing backups are replaced.

    Raises:
        InputError: if there is not enough free space.
    """
    files = [models_dir / "checkpoint.pt", models_dir / "model.pt"]
    replaced = [path for path in (files if resumed else map(previous_path, files)) if path.exists()]
    needed = 2 * checkpoint_size + tensor_bytes(exported.state_dict()) - sum(path.stat().st_size for path in replaced)
    free = free_space(models_dir)
    if free < needed:
        raise InputError(
            f"models_dir {models_dir}: expected {format_size(needed)} of free disk for checkpoint.pt and model.pt, "
            f"found {format_size(free)}; make room, or choose another --models_dir"
        )


def check_exported(model: Path, epoch: int) -> None:
    """Check that the model and its card belong to the best epoch.

    Args:
        model: path of the weights.
        epoch: best epoch.

    Raises:
        InputError: if a file is missing or of another epoch.
    """
    card = card_path(model)
    if epoch < 1:
        raise InputError(
            f"{model}: expected a validation with a finite score, found none; no model was written; pass more --epochs"
        )
    found = read_card(model).get("selected", {}).get("epoch") if model.exists() else None
    if found != epoch:
        raise InputError(
            f"{model}: expected the model of epoch {epoch} and its card {card.name}, found "
            f"{'no such files' if found is None else f'epoch {found}'}; they were removed or replaced during the run; "
            "train again, or continue with --resume True and more --epochs"
        )
