"""Is the pretext task solved while much of the run is left?"""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events

from tools.pretext.task import PretextTask
from tools.training.metrics_table import MetricsTable

logger = logging.getLogger(__name__)

# Of 50 questions one is left, often one that cannot be answered (crops without content): little remains to be learnt.
SOLVED = 0.98
# A validation is a few batches, so a task solved to 95 % can get there once by luck, hardly three times running.
IN_A_ROW = 3
# Later it would save too little: in the last quarter the cosine schedule has only small steps left anyway.
LEFT = 0.25


class SaturationMonitor:
    """Warn, once per run, of a validation accuracy of `SOLVED` `IN_A_ROW` times while `LEFT` of the epochs are to come.

    It reads the table, so a resumed run is not warned of again.

    Args:
        task: says by which keys its questions become harder.
        table: the record of the run; attach it before.
    """

    def __init__(self, task: PretextTask, table: MetricsTable) -> None:
        self.task = task
        self.table = table

    def attach(self, engine: Engine) -> None:
        """Look at the end of every epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def check(self, engine: Engine) -> None:
        """Warn if this epoch completes the first such row of validations."""
        validated = [row for row in self.table.rows if "val_accuracy" in row]
        solved = [row["val_accuracy"] >= SOLVED for row in validated]
        streaks = [all(solved[end - IN_A_ROW : end]) for end in range(IN_A_ROW, len(solved) + 1)]
        state = engine.state
        now = sum(streaks) == 1 and streaks[-1] and validated[-1]["epoch"] == state.epoch
        if now and state.epoch <= (1 - LEFT) * state.max_epochs:
            harder = f"make it harder ({self.task.harder}) or " if self.task.harder else ""
            logger.warning(
                f"the pretext task is solved: validation accuracy {validated[-1]['val_accuracy']:.1%} at step "
                f"{state.iteration}, {IN_A_ROW} validations in a row above {SOLVED:.0%}; {harder}train for fewer "
                "--epochs"
            )
