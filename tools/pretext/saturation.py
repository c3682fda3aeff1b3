"""Monitor of saturation: a task that is solved long before the end of the run."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events

from tools.pretext.task import PretextTask
from tools.training.metrics_table import MetricsTable

logger = logging.getLogger(__name__)

# One target of 50 is left, often one without a right answer (crops without content).
SOLVED = 0.98
# A validation is a few batches, so an accuracy of 95 % can reach 98 % once by chance, hardly three times in a row.
IN_A_ROW = 3
# In the last quarter of the run the learning rate of the cosine schedule is small, so stopping would save little.
LEFT = 0.25


class SaturationMonitor:
    """Warn, once per run, of a validation accuracy of `SOLVED` `IN_A_ROW` times while `LEFT` of the epochs are to come.

    It reads the table, so a resumed run does not repeat the warning.

    Args:
        task: its `harder` names the keys that make it harder.
        table: metrics of the run; attach it before.
    """

    def __init__(self, task: PretextTask, table: MetricsTable) -> None:
        self.task = task
        self.table = table

    def attach(self, engine: Engine) -> None:
        """Check at the end of every epoch."""
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
