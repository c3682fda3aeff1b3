"""Handlers that write results of ordinal grading: confusion matrix, test scores, predictions and Grad-CAM maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.visualize import GradCAM

from tools.classification.grading_metrics import confusion_matrix, grading_report
from tools.classification.ordinal import REFERABLE, decode_grade, grade_probabilities, referable_probability
from tools.training.case_outputs import CaseOutputs
from tools.training.model_loader import ModelLoader
from tools.training.reports import Collector, Report, describe_scores
from tools.utils import distributed, figures
from tools.utils.files import write_json, write_table
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def grade_rows(cases: Sequence[str], logits: torch.Tensor) -> list[Row]:
    """Return table rows with the predicted grade, and the probabilities of each grade and of referable disease.

    Args:
        cases: case ids.
        logits: logits (B, grades - 1).
    """
    grades, probabilities = decode_grade(logits), grade_probabilities(logits)
    referable = referable_probability(logits)
    return [
        {"case": case, "grade": int(grade)}
        | {f"probability_{k}": round(float(p), 4) for k, p in enumerate(row)}
        | {"referable": round(float(risk), 4)}
        for case, grade, row, risk in zip(cases, grades, probabilities, referable, strict=True)
    ]


def draw_confusion(counts: torch.Tensor, title: str) -> Figure:
    """Plot a confusion matrix of counts, true grades in rows; colours are fractions of each row."""
    counts = counts.float()
    fractions = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(3.8, 3.8))
    axes = figure.subplots()
    axes.imshow(fractions.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row, values in enumerate(counts.tolist()):
        for column, value in enumerate(values):
            colour = "white" if fractions[row, column] > 0.6 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.set_xlabel("predicted grade")
    axes.set_ylabel("true grade")
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class ConfusionFigure(Collector):
    """Handler that plots the validation confusion matrix to ``confusion.png`` whenever the key metric improves.

    Args:
        output_dir: output folder.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = output_path(output_dir, "confusion.png")

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch == state.epoch:
            gathered = distributed.gather_objects((torch.cat(self.labels), decode_grade(torch.cat(self.logits))))
            counts = sum(confusion_matrix(*part) for part in gathered)
            title = f"validation, epoch {state.epoch}: kappa {state.best_metric:.2f}"
            if distributed.rank() == 0:
                figures.save(draw_confusion(counts, title), self.path)


class GradingReport(Report):
    """Handler that evaluates test images.

    Writes ``evaluation.csv`` with the prediction per image, ``evaluation.json`` with scores and confidence intervals,
    and the confusion matrix ``evaluation.png``.
    """

    def _finish(self, engine: Engine) -> None:
        """Write and print the scores with bootstrap intervals over patients."""
        logits, grades = torch.cat(self.logits), torch.cat(self.labels)
        result = grading_report(grades, logits, self.patients)
        rows = [
            {"case": row.pop("case"), "patient": patient, "truth": int(label), **row}
            for row, patient, label in zip(grade_rows(self.cases, logits), self.patients, grades, strict=True)
        ]
        write_table(self.files["evaluation.csv"], rows)
        write_json(self.files["evaluation.json"], {"cases": len(rows), "scores": result})
        counts = confusion_matrix(grades, decode_grade(logits))
        kappa = result["kappa"]["value"]
        figures.save(
            draw_confusion(counts, f"{len(rows)} test images: kappa {kappa:.2f}"), self.files["evaluation.png"]
        )
        head = f"{len(rows)} test images of {len(set(self.patients))} patients, 95 % interval over patients:"
        logger.info("\n".join([head, *describe_scores(result), f"per image: {self.files['evaluation.csv']}"]))


class GradingWriter(Report):
    """Handler that writes grades of unlabelled images, ``grades.csv``, and Grad-CAM figures, ``<case>.png``.

    Grad-CAM (Selvaraju et al., ICCV 2017) is computed for the logit of grade 2 or more, referable disease, on the last
    feature map of the encoder.

    Args:
        model: handler that loads the network.
        network: network of that handler.
        output_dir: output folder.
    """

    FILES = ("grades.csv",)

    def __init__(self, model: ModelLoader, network: torch.nn.Module, output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.outputs = CaseOutputs(output_dir, (".png",))
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        self.outputs.attach(engine)
        super().attach(engine)

    def _clear(self, engine: Engine) -> None:
        self.rows: list[Row] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        rows = grade_rows(batch["case"], output["pred"].detach().float().cpu())
        maps = self._maps(output["image"])
        for row, image, heatmap in zip(rows, output["image"].detach().float().cpu(), maps, strict=True):
            figures.save(draw_gradcam(image, heatmap, row), self.outputs.path(row["case"], ".png"))
            logger.info(f"{row['case']}: grade {row['grade']}, referable {row['referable']:.0%}")
        self.rows += rows

    def _maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return Grad-CAM maps (B, H, W), each scaled to 0 … 1."""
        with torch.enable_grad():
            cam = GradCAM(self.network, "encoder", postprocessing=_to_unit)  # MONAI's default inverts the maps
            return cam(images.detach().clone().requires_grad_(), class_idx=REFERABLE - 1)[:, 0].detach().cpu()

    def _finish(self, engine: Engine) -> None:
        write_table(self.files["grades.csv"], self.rows)
        logger.info(f"{len(self.rows)} images graded: {self.files['grades.csv']}")


def _to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Scale each of the maps (B, 1, H, W) to 0 … 1."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def draw_gradcam(image: torch.Tensor, heatmap: torch.Tensor, row: Row) -> Figure:
    """Plot an image (C, H, W), and the same image overlaid with its Grad-CAM map (H, W)."""
    figure = Figure(figsize=(6.4, 3.5))
    shown = figures.plane(image)
    overlay = F.interpolate(heatmap[None, None].float(), image.shape[1:], mode="bilinear")[0, 0]
    for axes in figure.subplots(1, 2):
        figures.show(axes, shown)
    axes.imshow(overlay.numpy(), cmap="inferno", alpha=0.5 * np.clip(overlay.numpy(), 0, 1))
    figure.suptitle(f"{row['case']}\ngrade {row['grade']}, referable {row['referable']:.0%}", fontsize=9)
    figure.tight_layout()
    return figure
