"""Handlers that write results of binary classification: ROC curve, test scores and predictions."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from matplotlib.figure import Figure

from tools.classification.binary_metrics import binary_report, roc_curve
from tools.training.model_loader import ModelLoader
from tools.training.reports import Collector, Report, describe_scores
from tools.utils import distributed, figures
from tools.utils.errors import InputError
from tools.utils.files import write_json, write_table
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

MAX_SHOWN = 48  # cases per figure


def draw_roc(y: torch.Tensor, probabilities: torch.Tensor, threshold: float, title: str) -> Figure:
    """Plot the ROC curve and the operating point of a threshold.

    Args:
        y: boolean labels (B,).
        probabilities: predicted probabilities (B,).
        threshold: probability above which a case is predicted positive.
        title: title of the figure.
    """
    figure = Figure(figsize=(3.8, 3.8))
    axes = figure.subplots()
    false, true, _ = roc_curve(y, probabilities)
    axes.plot([0, 1], [0, 1], "--", color=figures.GREY, linewidth=1)
    axes.plot(false, true, color=figures.BLUE)
    predicted = probabilities > threshold
    rates = [float(predicted[group].float().mean()) for group in (~y, y)]
    axes.plot(*rates, "o", color=figures.ORANGE, label=f"threshold {threshold:.2f}")
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class ROCFigure(Collector):
    """Handler that plots the ROC curve of the validation cases to ``roc.png`` whenever the key metric improves.

    Args:
        output_dir: output folder.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = output_path(output_dir, "roc.png")

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch != state.epoch:
            return
        gathered = distributed.gather_objects((torch.cat(self.labels) > 0, torch.cat(self.logits).sigmoid()[:, 0]))
        y, probabilities = (torch.cat(part) for part in zip(*gathered, strict=True))
        title = f"validation, epoch {state.epoch}: AUC {state.best_metric:.2f}"
        if distributed.rank() == 0:
            figures.save(draw_roc(y, probabilities, state.metrics["threshold"], title), self.path)


def selected_threshold(model: ModelLoader) -> float:
    """Return the threshold selected on the validation cases, from the model's card.

    Raises:
        InputError: if the card has no threshold.
    """
    threshold = model.card.get("selected", {}).get("threshold")
    if threshold is None:
        raise InputError(f"{model.path}: expected a validation threshold in model.json beside it, found none")
    return float(threshold)


class BinaryReport(Report):
    """Handler that evaluates test cases.

    Writes ``evaluation.csv`` with the probability per case, ``evaluation.json`` with scores and confidence intervals,
    and the ROC curve ``evaluation.png``.

    Args:
        model: handler that loads the network; its card has the threshold.
        labels: names of the negative and the positive class.
        output_dir: output folder.
    """

    def __init__(self, model: ModelLoader, labels: Sequence[str], output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.class_names = list(labels)

    def _finish(self, engine: Engine) -> None:
        """Write and print the scores with bootstrap intervals over patients."""
        threshold = selected_threshold(self.model)
        y, probabilities = torch.cat(self.labels) > 0, torch.cat(self.logits).sigmoid()[:, 0]
        result = binary_report(y, probabilities, threshold, self.patients)
        column = f"probability_{self.class_names[1]}"
        rows = [  # probabilities are not rounded, since ties would change the AUC
            {"case": case, "patient": patient, "truth": int(label)}
            | prediction_row(self.class_names, probability, threshold)
            | {column: probability}
            for case, patient, label, probability in zip(
                self.cases, self.patients, y, probabilities.tolist(), strict=True
            )
        ]
        write_table(self.files["evaluation.csv"], rows)
        content = {"cases": len(rows), "patients": len(set(self.patients)), "threshold": threshold, "scores": result}
        write_json(self.files["evaluation.json"], content)
        head = f"{len(rows)} test cases of {len(set(self.patients))} patients"
        area = result["auc"]["value"]
        if not math.isnan(area):
            title = f"{head}: AUC {area:.2f}"
            figures.save(draw_roc(y, probabilities, threshold, title), self.files["evaluation.png"])
        head += f", 95 % interval over patients, threshold {threshold:.3f} from validation:"
        logger.info("\n".join([head, *describe_scores(result), f"per case: {self.files['evaluation.csv']}"]))


def prediction_row(class_names: Sequence[str], probability: float, threshold: float) -> dict[str, Any]:
    """Return the table columns of a case: the probability of the positive class, and the predicted class."""
    prediction = class_names[int(probability > threshold)]
    return {f"probability_{class_names[1]}": round(probability, 4), "prediction": prediction}


class BinaryWriter(Report):
    """Handler that writes predictions of unlabelled cases.

    Writes ``predictions.csv``, and ``predictions.png`` with the central slices sorted by decreasing probability.

    Args:
        model: handler that loads the network; its card has the threshold.
        labels: names of the negative and the positive class.
        output_dir: output folder.
    """

    FILES = ("predictions.csv", "predictions.png")

    def __init__(self, model: ModelLoader, labels: Sequence[str], output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.class_names = list(labels)

    def _clear(self, engine: Engine) -> None:
        self.predictions: list[tuple[float, str, torch.Tensor]] = []

    def _collect(self, engine: Engine) -> None:
        probabilities = engine.state.output["pred"].detach().float().sigmoid()[:, 0].tolist()
        batch = engine.state.batch
        for probability, case, image in zip(probabilities, batch["case"], batch["image"], strict=True):
            plain = torch.Tensor.as_subclass(image, torch.Tensor)
            self.predictions.append((probability, case, plain[0, plain.shape[1] // 2].float().cpu()))

    def _finish(self, engine: Engine) -> None:
        threshold = selected_threshold(self.model)
        rows = [{"case": case, **prediction_row(self.class_names, p, threshold)} for p, case, _ in self.predictions]
        table = self.files["predictions.csv"]
        write_table(table, rows)
        ranked = sorted(self.predictions, key=lambda prediction: -prediction[0])
        figures.save(draw_cases(ranked, threshold), self.files["predictions.png"])
        positives = sum(probability > threshold for probability, _, _ in ranked)
        logger.info(f"{positives} of {len(rows)} cases {self.class_names[1]} at threshold {threshold:.3f}: {table}")


def draw_cases(cases: Sequence[tuple[float, str, torch.Tensor]], threshold: float, columns: int = 8) -> Figure:
    """Plot slices of cases with their probabilities, framed if the probability exceeds the threshold.

    Args:
        cases: probability, id and slice (H, W) of each case; at most `MAX_SHOWN` evenly spaced cases are shown.
        threshold: probability above which a case is predicted positive.
        columns: slices per row.
    """
    shown = cases
    if len(cases) > MAX_SHOWN:
        shown = [cases[round(i * (len(cases) - 1) / (MAX_SHOWN - 1))] for i in range(MAX_SHOWN)]
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.55 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (probability, case, image) in zip(panels, shown, strict=False):
        figures.show(axes, image.numpy(), color=figures.ORANGE if probability > threshold else None)
        axes.set_title(f"{case.rpartition('/')[2]}\n{probability:.2f}", fontsize=6)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.tight_layout()
    return figure
