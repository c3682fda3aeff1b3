"""What a network that tells yes from no leaves: its ROC curve, scores of test cases, answers for any case."""

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

SHOWN = 48  # cases in a picture at most


def draw_roc(positive: torch.Tensor, chances: torch.Tensor, threshold: float, title: str) -> Figure:
    """Draw the ROC curve, and the point on it that a threshold stands for."""
    figure = Figure(figsize=(3.8, 3.8))
    axes = figure.subplots()
    false, true, _ = roc_curve(positive, chances)
    axes.plot([0, 1], [0, 1], "--", color=figures.GREY, linewidth=1)
    axes.plot(false, true, color=figures.BLUE)
    said = chances > threshold
    rates = [float(said[group].float().mean()) for group in (~positive, positive)]
    axes.plot(*rates, "o", color=figures.ORANGE, label=f"threshold {threshold:.2f}")
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return figure


class RocFigure(Collector):
    """Draw ``roc.png`` of every validation that is the best so far.

    Args:
        output_dir: where the picture goes.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = output_path(output_dir, "roc.png")

    def _finish(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch != state.epoch:
            return
        shares = distributed.gather_objects((torch.cat(self.labels) > 0, torch.cat(self.logits).sigmoid()[:, 0]))
        positive, chances = (torch.cat(part) for part in zip(*shares, strict=True))
        title = f"validation, epoch {state.epoch}: AUC {state.best_metric:.2f}"
        if distributed.rank() == 0:
            figures.save(draw_roc(positive, chances, state.metrics["threshold"], title), self.path)


def threshold_of(model: ModelLoader) -> float:
    """Threshold that validation chose for the best epoch, as the model's contract has it.

    Raises:
        InputError: the contract has none.
    """
    found = model.contract.get("selected", {}).get("threshold")
    if found is None:
        raise InputError(f"{model.path}: expected a contract beside it with the threshold validation chose, found none")
    return float(found)


class BinaryReport(Report):
    """Score test cases: ``evaluation.csv`` per case, ``evaluation.json`` with intervals, ``evaluation.png``.

    Args:
        model: loads the network; its contract has the threshold.
        labels: words for no and yes.
        output_dir: where the files go.
    """

    def __init__(self, model: ModelLoader, labels: Sequence[str], output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.words = list(labels)

    def _finish(self, engine: Engine) -> None:
        """Write and print the figures; intervals are over patients."""
        threshold = threshold_of(self.model)
        positive, chances = torch.cat(self.labels) > 0, torch.cat(self.logits).sigmoid()[:, 0]
        result = binary_report(positive, chances, threshold, self.patients)
        column = f"probability_{self.words[1]}"
        rows = [  # the probability as it is: rounded ones may tie, and the AUC could not be computed again
            {"case": case, "patient": patient, "truth": int(truth)}
            | answer(self.words, chance, threshold)
            | {column: chance}
            for case, patient, truth, chance in zip(self.cases, self.patients, positive, chances.tolist(), strict=True)
        ]
        write_table(self.files["evaluation.csv"], rows)
        content = {"cases": len(rows), "patients": len(set(self.patients)), "threshold": threshold, "scores": result}
        write_json(self.files["evaluation.json"], content)
        head = f"{len(rows)} test cases of {len(set(self.patients))} patients"
        area = result["auc"]["value"]
        if not math.isnan(area):
            title = f"{head}: AUC {area:.2f}"
            figures.save(draw_roc(positive, chances, threshold, title), self.files["evaluation.png"])
        head += f", 95 % interval over patients, threshold {threshold:.3f} from validation:"
        logger.info("\n".join([head, *describe_scores(result), f"per case: {self.files['evaluation.csv']}"]))


def answer(words: Sequence[str], chance: float, threshold: float) -> dict[str, Any]:
    """What is said of a case: the probability of yes, and a word."""
    return {f"probability_{words[1]}": round(chance, 4), "answer": words[int(chance > threshold)]}


class BinaryWriter(Report):
    """Write ``answers.csv`` of any cases, and ``answers.png`` with the middle of each, likeliest first.

    Args:
        model: loads the network; its contract has the threshold.
        labels: words for no and yes.
        output_dir: where the files go.
    """

    FILES = ("answers.csv", "answers.png")

    def __init__(self, model: ModelLoader, labels: Sequence[str], output_dir: str) -> None:
        super().__init__(model, output_dir)
        self.words = list(labels)

    def _clear(self, engine: Engine) -> None:
        self.found: list[tuple[float, str, torch.Tensor]] = []

    def _collect(self, engine: Engine) -> None:
        chances = engine.state.output["pred"].detach().float().sigmoid()[:, 0].tolist()
        for chance, case, image in zip(chances, engine.state.batch["case"], engine.state.batch["image"], strict=True):
            plain = torch.Tensor.as_subclass(image, torch.Tensor)
            self.found.append((chance, case, plain[0, plain.shape[1] // 2].float().cpu()))

    def _finish(self, engine: Engine) -> None:
        threshold = threshold_of(self.model)
        rows = [{"case": case, **answer(self.words, chance, threshold)} for chance, case, _ in self.found]
        write_table(self.files["answers.csv"], rows)
        figures.save(draw_cases(sorted(self.found, key=lambda one: -one[0]), threshold), self.files["answers.png"])
        yes = sum(chance > threshold for chance, _, _ in self.found)
        logger.info(f"{yes} of {len(rows)} {self.words[1]}, at threshold {threshold:.3f}: {self.files['answers.csv']}")


def draw_cases(found: Sequence[tuple[float, str, torch.Tensor]], threshold: float, columns: int = 8) -> Figure:
    """Draw slices (H, W) of cases, of many some, with their probabilities; a frame where these exceed the threshold."""
    shown = found
    if len(found) > SHOWN:
        shown = [found[round(place * (len(found) - 1) / (SHOWN - 1))] for place in range(SHOWN)]
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.55 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (chance, case, picture) in zip(panels, shown, strict=False):
        figures.show(axes, picture.numpy(), color=figures.ORANGE if chance > threshold else None)
        axes.set_title(f"{case.rpartition('/')[2]}\n{chance:.2f}", fontsize=6)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.tight_layout()
    return figure
