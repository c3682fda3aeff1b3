"""Figures of detections: slices with boxes, and the FROC curve."""

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

MAX_SHOWN = 12  # slices per figure
AXIAL = figures.Orientation.across(2)  # as in DeepLesion: rows to posterior, columns to the patient's left
DRAWN_RATE = 1  # false positives per image at which boxes are drawn


class SliceDetections(NamedTuple):
    """One slice for display: title, image (H, W), ground truth boxes or None, and detected boxes with scores."""

    title: str
    image: np.ndarray
    gt_boxes: torch.Tensor | None
    boxes: torch.Tensor
    scores: torch.Tensor

    def with_score_above(self, score_thresh: float) -> SliceDetections:
        """Return a copy with the detections whose score exceeds the threshold."""
        kept = self.scores > score_thresh
        return self._replace(boxes=self.boxes[kept], scores=self.scores[kept])


def draw_slices(slices: Sequence[SliceDetections], columns: int = 4) -> Figure:
    """Plot slices with ground truth boxes in green, and detections with their scores in orange."""
    columns = min(columns, len(slices))
    rows = -(-len(slices) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.3 * rows + 0.3))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, shown in zip(panels, slices, strict=False):
        figures.show(axes, shown.image, orientation=AXIAL)
        axes.set_title(shown.title, fontsize=8)
        for boxes, colour in ((shown.gt_boxes, figures.GREEN), (shown.boxes, figures.ORANGE)):
            for x1, y1, x2, y2 in [] if boxes is None else boxes.tolist():
                figures.draw_box(axes, (y1, x1), (y2 - y1, x2 - x1), colour, 1.4)
        for (x1, y1, _, _), score in zip(shown.boxes.tolist(), shown.scores.tolist(), strict=True):
            axes.text(x1, y1 - 2, f"{score:.2f}", color=figures.ORANGE, fontsize=7, va="bottom", clip_on=True)
    for axes in panels[len(slices) :]:
        axes.set_axis_off()
    names = {"lesion": figures.GREEN, "detection": figures.ORANGE}
    if all(shown.gt_boxes is None for shown in slices):
        del names["lesion"]
    handles = [figures.legend_line(colour) for colour in names.values()]
    figure.legend(handles, list(names), loc="lower center", ncols=2, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight(), 1, 1))
    return figure


def draw_froc(matches: Sequence[Matches], title: str) -> Figure:
    """Plot the FROC curve with markers at `RATES`."""
    fps_per_image, sensitivity, _ = froc_curve(matches)
    figure = Figure(figsize=(4.4, 3.4))
    axes = figure.subplots()
    end = max(RATES)
    axes.step(
        [*fps_per_image, max(end, fps_per_image[-1])], [*sensitivity, sensitivity[-1]], where="post", color=figures.BLUE
    )
    axes.plot(RATES, sensitivity_at(matches, RATES), "o", color=figures.ORANGE, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1 / 8, end)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0.125, 0.25, *RATES], ["1/8", "1/4", "1/2", *map(str, RATES[1:])])
    axes.set_xlabel("false positives per image")
    axes.set_ylabel("sensitivity")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class DetectionCollector(Collector):
    """Base handler that collects detections and ground truth of an evaluation, and the first slices for display.

    Args:
        match_metric: overlap measure, see `tools.detection.froc.box_overlap`.
        match_thresh: minimum overlap of a match.
        exclude_noisy: whether to exclude lesions with noisy annotations.
    """

    def __init__(self, match_metric: str = "iou", match_thresh: float = 0.5, exclude_noisy: bool = False) -> None:
        self.match_metric = match_metric
        self.match_thresh = match_thresh
        self.exclude_noisy = exclude_noisy

    def _clear(self, engine: Engine) -> None:
        self.items: list[dict[str, Any]] = []
        self.matches: list[Matches] = []
        self.slices: list[SliceDetections] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        for index, (detections, gt_boxes) in enumerate(zip(output["detections"], output["gt_boxes"], strict=True)):
            item = {key: batch[key][index] for key in ("case", "patient", "types", "noisy")}
            item |= {"spacing": float(batch["spacing"][index]), "detections": detections, "gt_boxes": gt_boxes}
            gt_ignore = item["noisy"] if self.exclude_noisy else None
            self.items.append(item)
            self.matches.append(
                match_detections(detections, gt_boxes, self.match_metric, self.match_thresh, gt_ignore=gt_ignore)
            )
            if len(self.slices) < MAX_SHOWN:
                scale, stack = float(batch["scale"][index]), batch["image"][index, 0]
                image = stack[(len(stack) - 1) // 2].float().cpu().numpy()
                boxes, scores = detections["boxes"] * scale, detections["scores"]
                shown = SliceDetections(item["case"], image, gt_boxes * scale, boxes, scores)
                self.slices.append(shown)

    def draw(self) -> Figure:
        """Plot the first slices with detections at one false positive per image."""
        threshold = float(pool_matches(self.matches).score_thresholds([DRAWN_RATE])[0])
        return draw_slices([shown.with_score_above(threshold) for shown in self.slices])


class LesionFigure(DetectionCollector):
    """Handler that plots detections of validation images to ``preview.png`` whenever the key metric improves.

    Args:
        output_dir: output folder.
        match_metric: overlap measure, see `DetectionCollector`.
        match_thresh: minimum overlap of a match.
    """

    def __init__(self, output_dir: str, match_metric: str = "iou", match_thresh: float = 0.5) -> None:
        super().__init__(match_metric, match_thresh)
        self.path = output_path(output_dir, "preview.png")

    def _finish(self, engine: Engine) -> None:
        if engine.state.best_metric_epoch == engine.state.epoch and distributed.rank() == 0:
            figures.save(self.draw(), self.path)
