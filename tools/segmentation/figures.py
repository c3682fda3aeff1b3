"""Figures of segmented cases: one slice per case with the contours of label and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.data import MetaTensor

from tools.segmentation.labels import LabelManager
from tools.segmentation.metrics import dice_scores
from tools.training.reports import Collector
from tools.utils import distributed, figures
from tools.utils.outputs import output_path

COLOURS = (figures.ORANGE, figures.BLUE, figures.GREEN, figures.RED)


class CaseSlice(NamedTuple):
    """One slice of a case for display: title, score, image (H, W) and masks (classes, H, W) of label and prediction."""

    title: str
    score: float
    image: np.ndarray
    label: np.ndarray | None
    prediction: np.ndarray
    orientation: figures.Orientation | None = None
    aspect: float = 1.0


def representative_slice(
    case: str, image: torch.Tensor, prediction: torch.Tensor, label: torch.Tensor | None, axis: int = 2
) -> CaseSlice:
    """Select the slice with the largest area of all classes, in the label, or in the prediction without a label.

    Args:
        case: case id, used as title.
        image: (C, D, H, W) in RAS orientation; a `MetaTensor` provides the spacing, otherwise voxels are isotropic.
        prediction: masks (classes, D, H, W).
        label: masks (classes, D, H, W), or None if the case has no label.
        axis: spatial axis perpendicular to the slices.
    """
    area = prediction if label is None or not label.any() else label
    index = int(area.any(0).sum(dim=[a for a in range(3) if a != axis]).argmax())

    orientation = figures.Orientation.across(axis)

    def cut(volume: torch.Tensor) -> np.ndarray:
        slices = torch.Tensor.as_subclass(volume, torch.Tensor).select(1 + axis, index).cpu().numpy()
        return np.stack([orientation.display(one) for one in slices])

    score = float("nan") if label is None else float(dice_scores(prediction[None], label[None]).mean())
    spacing = image.pixdim if isinstance(image, MetaTensor) else torch.ones(3)
    aspect = float(spacing[max(orientation)] / spacing[min(orientation)])
    masks = (None if label is None else cut(label), cut(prediction))
    return CaseSlice(case, score, cut(image.float())[0], *masks, orientation, aspect)


def draw_cases(slices: Sequence[CaseSlice], classes: Sequence[str]) -> Figure:
    """Plot slices with the contours of the label (if available) and the prediction."""
    columns = ["", "label", "prediction"] if any(shown.label is not None for shown in slices) else ["", "prediction"]
    figure = Figure(figsize=(2.6 * len(columns), 2.9 * len(slices)))
    for row, shown in zip(figure.subplots(len(slices), len(columns), squeeze=False), slices, strict=True):
        for axes, name in zip(row, columns, strict=True):
            figures.show(axes, shown.image, orientation=shown.orientation, aspect=shown.aspect)
            for mask, colour in zip(getattr(shown, name) if name else [], cycle(COLOURS)):
                if mask.any():
                    axes.contour(mask.astype(float), [0.5], colors=[colour], linewidths=1.2)
        scored = "" if np.isnan(shown.score) else f"\nDice {shown.score:.2f}"
        for axes, title in zip(row, [f"{shown.title}{scored}", *columns[1:]], strict=True):
            axes.set_title(title, fontsize=8)
    handles = [figures.legend_line(colour) for _, colour in zip(classes, cycle(COLOURS))]
    figure.legend(handles, list(classes), loc="lower center", ncols=len(classes), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight(), 1, 1))
    return figure


def best_and_worst(slices: Sequence[CaseSlice], count: int) -> list[CaseSlice]:
    """Return the `count` best and the `count` worst cases by score, best first."""
    ranked = sorted(slices, key=lambda shown: -shown.score)
    return ranked if len(ranked) <= 2 * count else ranked[:count] + ranked[-count:]


class BestWorstFigure(Collector):
    """Handler that plots the best and the worst validation cases to ``cases.png`` whenever the key metric improves.

    Args:
        output_dir: output folder.
        label_manager: maps labels to channels of the network.
        count: number of best and of worst cases.
    """

    def __init__(self, output_dir: str, label_manager: LabelManager, count: int = 2) -> None:
        self.path = output_path(output_dir, "cases.png")
        self.label_manager = label_manager
        self.count = count

    def _clear(self, engine: Engine) -> None:
        self.slices: list[CaseSlice] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        predictions = self.label_manager.masks(self.label_manager.decode(output["pred"].detach()))
        labels = self.label_manager.masks(output["label"])
        for case, image, prediction, label in zip(batch["case"], output["image"], predictions, labels, strict=True):
            self.slices.append(representative_slice(case, image, prediction, label))

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch == state.epoch:
            gathered = distributed.gather_objects(best_and_worst(self.slices, self.count))
            chosen = best_and_worst([shown for part in gathered for shown in part], self.count)
            if distributed.rank() == 0:
                figures.save(draw_cases(chosen, list(self.label_manager.classes)), self.path)
