"""How well grades agree: kappa, accuracy, recall of every grade, and the detection of referable disease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import from_engine

from tools.classification.binary_metrics import auc
from tools.classification.ordinal import REFERABLE, decode_grade, referable_probability
from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_scores


def confusion(truth: torch.Tensor, answer: torch.Tensor, num_grades: int = 5) -> torch.Tensor:
    """Number of pictures by true grade (rows) and given grade (columns): (num_grades, num_grades), int64."""
    return torch.bincount(truth.long() * num_grades + answer.long(), minlength=num_grades**2).reshape(-1, num_grades)


def quadratic_weighted_kappa(truth: torch.Tensor, answer: torch.Tensor, num_grades: int = 5) -> float:
    """Cohen's kappa with quadratic weights (Cohen, 1968), as scikit-learn's ``cohen_kappa_score``.

    1 for agreement, 0 for what chance gives. Where truth and answer are one and the same grade throughout, chance
    agrees as well and kappa is not defined: 1, as is any agreement without a flaw.
    """
    counts = confusion(truth, answer, num_grades).double()
    grades = torch.arange(num_grades, dtype=torch.float64)
    distance = (grades[:, None] - grades).square()
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    worst = float((distance * expected).sum())
    return 1.0 if worst == 0 else 1 - float((distance * counts).sum()) / worst


def grading_scores(truth: torch.Tensor, logits: torch.Tensor) -> dict[str, float]:
    """All figures of pictures with true grades (B,) and scores (B, grades - 1); recall of absent grades is NaN."""
    answer, num_grades = decode_grade(logits), logits.shape[-1] + 1
    counts = confusion(truth, answer, num_grades)
    recall = counts.diagonal() / counts.sum(1)
    return {
        "kappa": quadratic_weighted_kappa(truth, answer, num_grades),
        "accuracy": float((truth == answer).float().mean()),
        "referable_auc": auc(truth >= REFERABLE, referable_probability(logits)),
        **{f"recall_{grade}": float(value) for grade, value in enumerate(recall)},
    }


def grading_report(
    truth: torch.Tensor, logits: torch.Tensor, patients: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Every figure with its 95 % bootstrap interval; patients are resampled, both eyes together.

    Args:
        truth: grades (B,).
        logits: scores (B, grades - 1).
        patients: of each picture.
        resamples: number of bootstrap samples; those without a figure (a grade not drawn) do not count for it.
        seed: of the resampling.

    Returns:
        By name ``{"value": …, "interval_95": [low, high], "n": patients}``, see `bootstrap_scores`.
    """
    needs = {f"recall_{grade}": [truth == grade] for grade in range(logits.shape[-1] + 1)}
    needs["referable_auc"] = [truth >= REFERABLE, truth < REFERABLE]
    return bootstrap_scores(lambda i: grading_scores(truth[i], logits[i]), patients, resamples, seed, needs)


class Kappa(Metric):
    """Quadratic weighted kappa of everything seen, over all ranks; sets ``accuracy`` beside it.

    Takes scores (B, num_grades - 1) and grades (B,) from the engine's output.

    Args:
        num_grades: number of grades.
    """

    def __init__(self, num_grades: int = 5) -> None:
        self.num_grades = num_grades
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._pairs: list[tuple[int, int]] = []

    @reinit__is_reduced
    def update(self, output: Sequence[torch.Tensor]) -> None:
        """Add a batch."""
        logits, grades = output
        self._pairs += list(zip(grades.tolist(), decode_grade(logits.detach()).tolist(), strict=True))

    def _all(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [pair for part in distributed.gather_objects(self._pairs) for pair in part]
        truth, answer = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return truth, answer

    def compute(self) -> float:
        """Return kappa."""
        return quadratic_weighted_kappa(*self._all(), self.num_grades)

    def completed(self, engine: Any, name: str) -> None:
        """Put kappa under `name`, and the accuracy beside it."""
        truth, answer = self._all()
        engine.state.metrics[name] = quadratic_weighted_kappa(truth, answer, self.num_grades)
        engine.state.metrics["accuracy"] = float((truth == answer).float().mean())
