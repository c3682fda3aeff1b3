"""Metrics of a run per epoch: metrics.csv, curves.png, TensorBoard events and log lines."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import cycle
from pathlib import Path

from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from tools.training.throttled_figure import ThrottledFigure
from tools.utils import figures
from tools.utils.errors import InputError, one_line
from tools.utils.files import write_table, writing
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

Row = dict[str, float]


class MetricsTable:
    """Handler that writes the metrics of trainer (``train_``) and evaluator (``val_``) per epoch.

    Args:
        folder: folder of ``metrics.csv``, ``curves.png`` and the TensorBoard events.
        evaluator: validation engine.
        optimizer: optimizer whose learning rate is recorded.
        constants: values of every row, for example the chance level.
        curves: names or patterns of the columns in each panel of ``curves.png``.
    """

    def __init__(
        self,
        folder: str | Path,
        evaluator: Engine,
        optimizer: Optimizer,
        constants: Row,
        curves: Sequence[Sequence[str]],
    ) -> None:
        self.path = output_path(folder, "metrics.csv")
        self.figure = output_path(folder, "curves.png")
        self.events = output_path(folder, "tensorboard/events").parent
        self.evaluator = evaluator
        self.optimizer = optimizer
        self.constants = constants
        self.curves = curves
        self.rows: list[Row] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.record)
        self.latest = ThrottledFigure()
        self.latest.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _open(self, engine: Engine) -> None:
        """Keep the rows of a resumed run up to the last finished epoch."""
        if engine.state.epoch and self.path.exists():
            self.rows = [row for row in read_rows(self.path) if row["epoch"] <= engine.state.epoch]
        with writing(self.events):
            self.writer = SummaryWriter(str(self.events), purge_step=engine.state.epoch + 1)

    def _close(self, engine: Engine) -> None:
        with writing(self.events):
            self.writer.close()

    def _start(self, engine: Engine) -> None:
        self._begin = time.perf_counter()

    def record(self, engine: Engine) -> None:
        """Add the metrics of the epoch to the table, the curves, TensorBoard and the log."""
        state = engine.state
        row: Row = {
            "epoch": state.epoch,
            "step": state.iteration,
            "seconds": round(time.perf_counter() - self._begin, 2),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        row |= {f"train_{k}" if k in ("loss", "accuracy") else k: float(v) for k, v in state.metrics.items()}
        validated = self.evaluator.state.epoch == state.epoch
        if validated:
            row |= {f"val_{k}": float(v) for k, v in self.evaluator.state.metrics.items()}
        row |= self.constants
        self.rows.append(row)
        write_table(self.path, self.rows)
        with writing(self.events):
            for name, value in row.items():
                self.writer.add_scalar(name, value, state.epoch)
            self.writer.flush()
        logger.info(self._line(row, state.max_epochs))
        if validated:
            self.latest.submit(self._draw)

    def _draw(self) -> None:
        figures.save(draw_curves(self.rows, self.curves), self.figure)

    def _line(self, row: Row, epochs: int) -> str:
        shown: dict[str, str] = {}
        validated = [name for name in row if name.startswith("val_") and name != "val_probe"]
        for name in ("train_loss", "train_accuracy", "val_loss", *validated):
            if name in row and (text := name.replace("_", " ")) not in shown:
                percent = name.endswith("accuracy")
                shown[text] = f"{text} {row[name]:.1%}" if percent else f"{text} {row[name]:.3f}"
        parts = [f"epoch {row['epoch']}/{epochs}", *shown.values()]
        if "chance" in row:
            parts.append(f"(chance {row['chance']:.1%})")
        if "val_probe" in row:
            start = f", at the start {row['probe_start']:.1%}" if "probe_start" in row else ""
            parts.append(f"probe {row['val_probe']:.1%} (chance {row['probe_chance']:.1%}{start})")
        if "samples_per_second" in row:
            parts.append(f"{row['samples_per_second']:.1f} samples/s")
        return "  ".join([*parts, f"{row['seconds']:.0f} s"])


def read_rows(path: Path) -> list[Row]:
    """Read the rows of ``metrics.csv``.

    Raises:
        InputError: if the file is damaged or another table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{k: _number(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: expected numbers in UTF-8, found {one_line(error)}; move the file away") from error
    if not all({"epoch", "step"} <= row.keys() for row in rows):
        raise InputError(f"{path}: expected the columns epoch and step, found a row without them; move the file away")
    return rows


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def draw_curves(rows: Sequence[Row], panels: Sequence[Sequence[str]]) -> Figure:
    """Plot columns of the table by training step, one panel per group of names or patterns (``val_*``).

    A column is plotted once, in the first panel that includes it.
    """
    left = list(dict.fromkeys(name for row in rows for name in row))
    chosen = []
    for panel in panels:
        chosen.append([name for pattern in panel for name in left if fnmatchcase(name, pattern)])
        left = [name for name in left if name not in chosen[-1]]
    panels = [panel for panel in chosen if panel]
    figure = Figure(figsize=(4.6 * len(panels), 3.4))
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, color in zip(panel, cycle((figures.BLUE, figures.ORANGE, figures.GREY, figures.GREEN))):
            points = [(row["step"], row[name]) for row in rows if name in row]
            dashed = name in ("chance", "probe_chance", "probe_start")
            axes.plot(*zip(*points, strict=True), "--" if dashed else "o-", color=color, markersize=3, label=name)
        axes.set_xlabel("step")
        if not panel[0].endswith("loss"):
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
