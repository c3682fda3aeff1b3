"""What a trained grading network leaves: scores of test pictures, grades of any picture and where it looked."""

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

from tools.classification.grading_metrics import confusion, grading_report
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
    """What is said of each picture: grade, its probabilities, and that of referable disease.

    Args:
        cases: ids.
        logits: (B, grades - 1).
    """
    grades, chances = decode_grade(logits), grade_probabilities(logits)
    referable = referable_probability(logits)
    return [
        {"case": case, "grade": int(grade)}
        | {f"probability_{k}": round(float(p), 4) for k, p in enumerate(chance)}
        | {"referable": round(float(risk), 4)}
        for case, grade, chance, risk in zip(cases, grades, chances, referable, strict=True)
    ]


def draw_confusion(counts: torch.Tensor, title: str) -> Figure:
    """Draw how often each true grade (rows) was given each grade (columns); shades are shares of the true grade."""
    counts = counts.float()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(3.8, 3.8))
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row, values in enumerate(counts.tolist()):
        for column, value in enumerate(values):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.set_xlabel("grade given")
    axes.set_ylabel("true grade")
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class ConfusionFigure(Collector):
    """Draw ``confusion.png`` of every validation that is the best so far.

    Args:
        output_dir: where the picture goes.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = output_path(output_dir, "confusion.png")

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch == state.epoch:
            shares = distributed.gather_objects((torch.cat(self.labels), decode_grade(torch.cat(self.logits))))
            counts = sum(confusion(*share) for share in shares)
            title = f"validation, epoch {state.epoch}: kappa {state.best_metric:.2f}"
            if distributed.rank() == 0:
                figures.save(draw_confusion(counts, title), self.path)


class GradingReport(Report):
    """Score test pictures: ``evaluation.csv`` per picture, ``evaluation.json`` with intervals, ``evaluation.png``."""

    def _finish(self, engine: Engine) -> None:
        """Write and print the figures; intervals are over patients."""
        logits, grades = torch.cat(self.logits), torch.cat(self.labels)
        result = grading_report(grades, logits, self.patients)
        rows = [
            {"case": row.pop("case"), "patient": patient, "truth": int(truth), **row}
            for row, patient, truth in zip(grade_rows(self.cases, logits), self.patients, grades, strict=True)
        ]
        write_table(self.files["evaluation.csv"], rows)
        write_json(self.files["evaluation.json"], {"cases": len(rows), "scores": result})
        counts = confusion(grades, decode_grade(logits))
        kappa = result["kappa"]["value"]
        figures.save(
            draw_confusion(counts, f"{len(rows)} test pictures: kappa {kappa:.2f}"), self.files["evaluation.png"]
        )
        head = f"{len(rows)} test pictures of {len(set(self.patients))} patients, 95 % interval over patients:"
        logger.info("\n".join([head, *describe_scores(result), f"per picture: {self.files['evaluation.csv']}"]))


class GradingWriter(Report):
    """Write ``grades.csv``, and ``<case>.png`` of every picture: where the evidence of referable disease lies.

    The map is Grad-CAM (Selvaraju et al., ICCV 2017) of the score for grade 2 or more, on the encoder's last map.

    Args:
        model: loads the network.
        network: the same.
        output_dir: where the files go.
    """

    FILES = ("grades.csv",)

    def __init__(self, model: ModelLoader, network: torch.nn.Module, output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.outputs = CaseOutputs(output_dir, (".png",))
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator."""
        self.outputs.attach(engine)
        super().attach(engine)

    def _clear(self, engine: Engine) -> None:
        self.rows: list[Row] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        rows = grade_rows(batch["case"], output["pred"].detach().float().cpu())
        maps = self._maps(output["image"])
        for row, image, heat in zip(rows, output["image"].detach().float().cpu(), maps, strict=True):
            figures.save(draw_evidence(image, heat, row), self.outputs.path(row["case"], ".png"))
            logger.info(f"{row['case']}: grade {row['grade']}, referable {row['referable']:.0%}")
        self.rows += rows

    def _maps(self, images: torch.Tensor) -> torch.Tensor:
        """Evidence (B, H, W) from 0 to 1, of each picture's own range."""
        with torch.enable_grad():
            cam = GradCAM(self.network, "encoder", postprocessing=_to_unit)  # MONAI's own turns them upside down
            return cam(images.detach().clone().requires_grad_(), class_idx=REFERABLE - 1)[:, 0].detach().cpu()

    def _finish(self, engine: Engine) -> None:
        write_table(self.files["grades.csv"], self.rows)
        logger.info(f"{len(self.rows)} pictures graded: {self.files['grades.csv']}")


def _to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Maps (B, 1, H, W), each from 0 to 1."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def draw_evidence(image: torch.Tensor, heat: torch.Tensor, row: Row) -> Figure:
    """Draw a picture (C, H, W), and beside it the same under its evidence (H, W)."""
    figure = Figure(figsize=(6.4, 3.5))
    shown = figures.plane(image)
    size = F.interpolate(heat[None, None].float(), image.shape[1:], mode="bilinear")[0, 0]
    for axes in figure.subplots(1, 2):
        figures.show(axes, shown)
    axes.imshow(size.numpy(), cmap="inferno", alpha=0.5 * np.clip(size.numpy(), 0, 1))
    figure.suptitle(f"{row['case']}\ngrade {row['grade']}, referable {row['referable']:.0%}", fontsize=9)
    figure.tight_layout()
    return figure
