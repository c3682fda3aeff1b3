"""Saturation monitor: warning that a pretext task is solved long before the end of the run."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events

from tools.pretext.task import PretextTask
from tools.training.metrics_table import MetricsTable

logger = logging.getLogger(__name__)

#: validation accuracy of a solved task; the remaining 2 % are often crops without content
SOLVED_ACCURACY = 0.98
#: consecutive validations, since a few batches of a task with 95 % accuracy can reach 98 % once by chance
PATIENCE = 3
#: minimum fraction of remaining epochs; later, the learning rate of the cosine schedule is small
MIN_REMAINING = 0.25


class SaturationMonitor:
    """Handler that logs a warning, once per run, when the pretext task is solved early.

    The warning is logged after `PATIENCE` consecutive validations with an accuracy of at least `SOLVED_ACCURACY`, if at
    least the fraction `MIN_REMAINING` of the epochs remains. Earlier validations are read from the table, so a resumed
    run does not repeat the warning.

    Args:
        task: pretext task; its `difficulty_advice` is part of the warning.
        table: metrics table of the run, which must be attached before.
    """

    def __init__(self, task: PretextTask, table: MetricsTable) -> None:
        self.task = task
        self.table = table

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def check(self, engine: Engine) -> None:
        """Log the warning if this epoch completes the first such series of validations."""
        validated = [row for row in self.table.rows if "val_accuracy" in row]
        solved = [row["val_accuracy"] >= SOLVED_ACCURACY for row in validated]
        streaks = [all(solved[end - PATIENCE : end]) for end in range(PATIENCE, len(solved) + 1)]
        state = engine.state
        now = sum(streaks) == 1 and streaks[-1] and validated[-1]["epoch"] == state.epoch
        if now and state.epoch <= (1 - MIN_REMAINING) * state.max_epochs:
            advice = f"make it harder ({self.task.difficulty_advice}) or " if self.task.difficulty_advice else ""
            logger.warning(
                f"the pretext task is solved: validation accuracy {validated[-1]['val_accuracy']:.1%} at step "
                f"{state.iteration}, at least {SOLVED_ACCURACY:.0%} in {PATIENCE} consecutive validations; {advice}"
                "reduce --epochs"
            )
