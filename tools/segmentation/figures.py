"""Pictures of segmented cases: one slice each, with the outlines of truth and answer."""

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


class Look(NamedTuple):
    """One slice of a case as it is displayed: name and score, a picture (H, W), and masks (structures, H, W)."""

    title: str
    score: float
    picture: np.ndarray
    truth: np.ndarray | None
    answer: np.ndarray
    orientation: figures.Orientation | None = None
    aspect: float = 1.0


def look_at(case: str, image: torch.Tensor, answer: torch.Tensor, truth: torch.Tensor | None, axis: int = 2) -> Look:
    """Take the slice that shows most of the structures.

    Args:
        case: its id.
        image: (C, D, H, W) in RAS orientation; a `MetaTensor` has the spacing, other voxels are cubes.
        answer: masks (structures, D, H, W).
        truth: likewise, or None where nobody knows.
        axis: spatial axis the slices lie across.
    """
    area = answer if truth is None or not truth.any() else truth
    index = int(area.any(0).sum(dim=[a for a in range(3) if a != axis]).argmax())

    orientation = figures.Orientation.across(axis)

    def cut(volume: torch.Tensor) -> np.ndarray:
        slices = torch.Tensor.as_subclass(volume, torch.Tensor).select(1 + axis, index).cpu().numpy()
        return np.stack([orientation.display(one) for one in slices])

    score = float("nan") if truth is None else float(dice_scores(answer[None], truth[None]).mean())
    spacing = image.pixdim if isinstance(image, MetaTensor) else torch.ones(3)
    aspect = float(spacing[max(orientation)] / spacing[min(orientation)])
    masks = (None if truth is None else cut(truth), cut(answer))
    return Look(case, score, cut(image.float())[0], *masks, orientation, aspect)


def draw_looks(looks: Sequence[Look], structures: Sequence[str]) -> Figure:
    """Draw slices with the outlines of truth (where known) and answer."""
    columns = ["", "truth", "answer"] if any(look.truth is not None for look in looks) else ["", "answer"]
    figure = Figure(figsize=(2.6 * len(columns), 2.9 * len(looks)))
    for row, look in zip(figure.subplots(len(looks), len(columns), squeeze=False), looks, strict=True):
        for axes, name in zip(row, columns, strict=True):
            figures.show(axes, look.picture, orientation=look.orientation, aspect=look.aspect)
            for mask, colour in zip(getattr(look, name) if name else [], cycle(COLOURS)):
                if mask.any():
                    axes.contour(mask.astype(float), [0.5], colors=[colour], linewidths=1.2)
        scored = "" if np.isnan(look.score) else f"\nDice {look.score:.2f}"
        for axes, title in zip(row, [f"{look.title}{scored}", *columns[1:]], strict=True):
            axes.set_title(title, fontsize=8)
    handles = [figures.line(colour) for _, colour in zip(structures, cycle(COLOURS))]
    figure.legend(handles, list(structures), loc="lower center", ncols=len(structures), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight(), 1, 1))
    return figure


def chosen_looks(looks: Sequence[Look], count: int) -> list[Look]:
    """The best and the worst cases, `count` of each, best first."""
    ranked = sorted(looks, key=lambda look: -look.score)
    return ranked if len(ranked) <= 2 * count else ranked[:count] + ranked[-count:]


class BestAndWorst(Collector):
    """Draw ``cases.png`` of every validation that is the best so far: its best and its worst cases.

    Args:
        output_dir: where the picture goes.
        coding: what the network's channels mean.
        count: cases of each kind.
    """

    def __init__(self, output_dir: str, coding: LabelManager, count: int = 2) -> None:
        self.path = output_path(output_dir, "cases.png")
        self.coding = coding
        self.count = count

    def _clear(self, engine: Engine) -> None:
        self.looks: list[Look] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        answers = self.coding.masks(self.coding.decode(output["pred"].detach()))
        truths = self.coding.masks(output["label"])
        for case, image, answer, truth in zip(batch["case"], output["image"], answers, truths, strict=True):
            self.looks.append(look_at(case, image, answer, truth))

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch == state.epoch:
            shares = distributed.gather_objects(chosen_looks(self.looks, self.count))
            chosen = chosen_looks([look for share in shares for look in share], self.count)
            if distributed.rank() == 0:
                figures.save(draw_looks(chosen, list(self.coding.structures)), self.path)
