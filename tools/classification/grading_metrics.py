"""Metrics of ordinal grading: quadratic weighted kappa, accuracy, recall per grade, and AUC of referable disease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import from_engine

from tools.classification.binary_metrics import roc_auc
from tools.classification.ordinal import REFERABLE, decode_grade, referable_probability
from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_scores


def confusion_matrix(y: torch.Tensor, y_pred: torch.Tensor, num_grades: int = 5) -> torch.Tensor:
    """Count images by true grade (rows) and predicted grade (columns): (num_grades, num_grades) int64."""
    return torch.bincount(y.long() * num_grades + y_pred.long(), minlength=num_grades**2).reshape(-1, num_grades)


def quadratic_weighted_kappa(y: torch.Tensor, y_pred: torch.Tensor, num_grades: int = 5) -> float:
    """Return Cohen's kappa with quadratic weights (Cohen, 1968), equal to scikit-learn's ``cohen_kappa_score``.

    Kappa is 1 for perfect agreement and 0 for agreement by chance. If all grades and predictions are
    equal, kappa is not defined and the result is 1.

    Args:
        y: true grades (B,).
        y_pred: predicted grades (B,).
        num_grades: number of grades.
    """
    counts = confusion_matrix(y, y_pred, num_grades).double()
    grades = torch.arange(num_grades, dtype=torch.float64)
    distance = (grades[:, None] - grades).square()
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    by_chance = float((distance * expected).sum())
    return 1.0 if by_chance == 0 else 1 - float((distance * counts).sum()) / by_chance


def grading_scores(y: torch.Tensor, logits: torch.Tensor) -> dict[str, float]:
    """Compute all metrics of true grades (B,) and logits (B, grades - 1); recall of absent grades is NaN."""
    y_pred, num_grades = decode_grade(logits), logits.shape[-1] + 1
    counts = confusion_matrix(y, y_pred, num_grades)
    recall = counts.diagonal() / counts.sum(1)
    return {
        "kappa": quadratic_weighted_kappa(y, y_pred, num_grades),
        "accuracy": float((y == y_pred).float().mean()),
        "referable_auc": roc_auc(y >= REFERABLE, referable_probability(logits)),
        **{f"recall_{grade}": float(value) for grade, value in enumerate(recall)},
    }


def grading_report(
    y: torch.Tensor, logits: torch.Tensor, patients: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compute `grading_scores` with 95 % bootstrap intervals over patients.

    Args:
        y: grades (B,).
        logits: logits (B, grades - 1).
        patients: patient id of each image; all images of a patient are resampled together.
        resamples: number of bootstrap samples; those in which a metric is not defined are ignored for that metric.
        seed: seed of the resampling.

    Returns:
        Metric names to ``{"value": …, "interval_95": [low, high], "n": patients}``, see `bootstrap_scores`.
    """
    needs = {f"recall_{grade}": [y == grade] for grade in range(logits.shape[-1] + 1)}
    needs["referable_auc"] = [y >= REFERABLE, y < REFERABLE]
    return bootstrap_scores(lambda i: grading_scores(y[i], logits[i]), patients, resamples, seed, needs)


class QuadraticWeightedKappa(Metric):
    """Quadratic weighted kappa over all images of all ranks; also adds the metric ``accuracy``.

    Uses logits (B, num_grades - 1) and grades (B,) of the engine's output.

    Args:
        num_grades: number of grades.
    """

    def __init__(self, num_grades: int = 5) -> None:
        self.num_grades = num_grades
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Reset the collected pairs."""
        self._pairs: list[tuple[int, int]] = []

    @reinit__is_reduced
    def update(self, output: Sequence[torch.Tensor]) -> None:
        """Add a batch."""
        logits, grades = output
        self._pairs += list(zip(grades.tolist(), decode_grade(logits.detach()).tolist(), strict=True))

    def _all(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [pair for part in distributed.gather_objects(self._pairs) for pair in part]
        y, y_pred = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return y, y_pred

    def compute(self) -> float:
        """Return kappa."""
        return quadratic_weighted_kappa(*self._all(), self.num_grades)

    def completed(self, engine: Any, name: str) -> None:
        """Set kappa as metric `name`, and the accuracy."""
        y, y_pred = self._all()
        engine.state.metrics[name] = quadratic_weighted_kappa(y, y_pred, self.num_grades)
        engine.state.metrics["accuracy"] = float((y == y_pred).float().mean())
