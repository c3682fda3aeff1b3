"""Pictures of detected lesions: slices with boxes, and the FROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure

from tools.detection.froc import RATES, Matches, froc_curve, match_detections, pool_matches, sensitivity_at
from tools.training.reports import Collector
from tools.utils import distributed, figures
from tools.utils.outputs import output_path

SHOWN = 12  # pictures in a sheet
PUBLISHED = figures.Orientation.across(2)  # that of DeepLesion's slices: rows to the back, columns to the left side
DRAWN_RATE = 1  # false positives per picture at which boxes are drawn


class Look(NamedTuple):
    """One slice: title, picture (H, W), and boxes in its pixels: true ones, or None, and found ones with scores."""

    title: str
    picture: np.ndarray
    truths: torch.Tensor | None
    boxes: torch.Tensor
    scores: torch.Tensor

    def above(self, threshold: float) -> Look:
        """Keep the boxes whose score exceeds a threshold."""
        kept = self.scores > threshold
        return self._replace(boxes=self.boxes[kept], scores=self.scores[kept])


def draw_looks(looks: Sequence[Look], columns: int = 4) -> Figure:
    """Draw slices with true boxes in green and found ones, with their scores, in orange."""
    columns = min(columns, len(looks))
    rows = -(-len(looks) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.3 * rows + 0.3))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, look in zip(panels, looks, strict=False):
        figures.show(axes, look.picture, orientation=PUBLISHED)
        axes.set_title(look.title, fontsize=8)
        for boxes, colour in ((look.truths, figures.GREEN), (look.boxes, figures.ORANGE)):
            for x1, y1, x2, y2 in [] if boxes is None else boxes.tolist():
                figures.box(axes, (y1, x1), (y2 - y1, x2 - x1), colour, 1.4)
        for (x1, y1, _, _), score in zip(look.boxes.tolist(), look.scores.tolist(), strict=True):
            axes.text(x1, y1 - 2, f"{score:.2f}", color=figures.ORANGE, fontsize=7, va="bottom", clip_on=True)
    for axes in panels[len(looks) :]:
        axes.set_axis_off()
    names = {"lesion": figures.GREEN, "found": figures.ORANGE}
    if all(look.truths is None for look in looks):
        del names["lesion"]
    handles = [figures.line(colour) for colour in names.values()]
    figure.legend(handles, list(names), loc="lower center", ncols=2, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight(), 1, 1))
    return figure


def draw_froc(matches: Sequence[Matches], title: str) -> Figure:
    """Draw sensitivity against false positives per picture, the rates of the literature marked."""
    false, sensitivity, _ = froc_curve(matches)
    figure = Figure(figsize=(4.4, 3.4))
    axes = figure.subplots()
    end = max(RATES)
    axes.step([*false, max(end, false[-1])], [*sensitivity, sensitivity[-1]], where="post", color=figures.BLUE)
    axes.plot(RATES, sensitivity_at(matches, RATES), "o", color=figures.ORANGE, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1 / 8, end)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0.125, 0.25, *RATES], ["1/8", "1/4", "1/2", *map(str, RATES[1:])])
    axes.set_xlabel("false positives per picture")
    axes.set_ylabel("sensitivity")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class FigureCollector(Collector):
    """Collects detections and truths of one pass, and looks at the first pictures.

    Args:
        match: see `tools.detection.overlaps`.
        overlap: from which on a detection finds a lesion.
        exclude_noisy: lesions flagged as noisy are neither found nor missed.
    """

    def __init__(self, match: str = "iou", overlap: float = 0.5, exclude_noisy: bool = False) -> None:
        self.match = match
        self.overlap = overlap
        self.exclude_noisy = exclude_noisy

    def _clear(self, engine: Engine) -> None:
        self.items: list[dict[str, Any]] = []
        self.matches: list[Matches] = []
        self.looks: list[Look] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        for index, (found, truth) in enumerate(zip(output["detections"], output["truths"], strict=True)):
            item = {key: batch[key][index] for key in ("case", "patient", "types", "noisy")}
            item |= {"spacing": float(batch["spacing"][index]), "found": found, "truth": truth}
            noisy = item["noisy"] if self.exclude_noisy else None
            self.items.append(item)
            self.matches.append(match_detections(found, truth, self.match, self.overlap, noisy=noisy))
            if len(self.looks) < SHOWN:
                scale, stack = float(batch["scale"][index]), batch["image"][index, 0]
                picture = stack[(len(stack) - 1) // 2].float().cpu().numpy()
                look = Look(item["case"], picture, truth * scale, found["boxes"] * scale, found["scores"])
                self.looks.append(look)

    def drawn(self) -> Figure:
        """Draw the first pictures with the boxes that one false positive per picture allows."""
        threshold = float(pool_matches(self.matches).limits([DRAWN_RATE])[0])
        return draw_looks([look.above(threshold) for look in self.looks])


class LesionFigure(FigureCollector):
    """Draw ``preview.png`` of every validation that is the best so far.

    Args:
        output_dir: where the picture goes.
        match: see `FigureCollector`.
        overlap: likewise.
    """

    def __init__(self, output_dir: str, match: str = "iou", overlap: float = 0.5) -> None:
        super().__init__(match, overlap)
        self.path = output_path(output_dir, "preview.png")

    def _finish(self, engine: Engine) -> None:
        if engine.state.best_metric_epoch == engine.state.epoch and distributed.rank() == 0:
            figures.save(self.drawn(), self.path)
