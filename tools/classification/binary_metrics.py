"""Metrics of binary classification: ROC AUC, and sensitivity and specificity at a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import from_engine
from scipy.stats import rankdata

from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_scores
from tools.utils.errors import InputError


def roc_auc(y: torch.Tensor, y_pred: torch.Tensor) -> float:
    """Return the area under the ROC curve of scores `y_pred` (B,) for boolean labels `y` (B,); NaN with a single class.

    Computed from ranks. MONAI's ``compute_roc_auc`` loops over scores in Python, which is slow for a bootstrap.
    """
    if y.all() or not y.any():
        return float("nan")
    ranks = torch.from_numpy(rankdata(y_pred.numpy()))  # ties have their mean rank
    positives, negatives = int(y.sum()), int((~y).sum())
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc_curve(y: torch.Tensor, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the receiver operating characteristic (ROC) curve.

    Args:
        y: boolean labels (B,) with both classes.
        y_pred: scores (B,).

    Returns:
        False positive rates, true positive rates and decreasing thresholds, as scikit-learn's ``roc_curve``. A case is
        predicted positive if its score is at least the threshold. The first threshold is infinite.
    """
    thresholds = torch.cat([torch.tensor([torch.inf]), y_pred.double().unique().flip(0)])
    predicted = y_pred.double()[None] >= thresholds[:, None]
    rates = [(predicted & group).sum(1) / group.sum() for group in (~y, y)]
    return rates[0], rates[1], thresholds


def youden_threshold(y: torch.Tensor, y_pred: torch.Tensor) -> float:
    """Return the threshold with the highest Youden index (Youden, 1950), halfway to the next lower score.

    Args:
        y: boolean labels (B,).
        y_pred: probabilities (B,).

    Raises:
        InputError: if all labels are equal.
    """
    if y.all() or not y.any():
        raise InputError(
            f"validation data: expected cases of both labels, found {int(y.sum())} of {len(y)} with label "
            "1; change --val_fraction or pass a --split_file"
        )
    false, true, thresholds = roc_curve(y, y_pred)
    best = int((true - false).argmax())
    following = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    upper = thresholds[best] if best else following
    return float((upper + following) / 2)


def binary_scores(y: torch.Tensor, y_pred: torch.Tensor, threshold: float) -> dict[str, float]:
    """Compute AUC, sensitivity, specificity and accuracy; NaN where a class is absent.

    Args:
        y: boolean labels (B,).
        y_pred: probabilities (B,).
        threshold: a case is predicted positive if its probability exceeds it.
    """
    predicted = y_pred > threshold
    return {
        "auc": roc_auc(y, y_pred),
        "sensitivity": float(predicted[y].float().mean()),
        "specificity": float((~predicted)[~y].float().mean()),
        "accuracy": float((predicted == y).float().mean()),
    }


def binary_report(
    y: torch.Tensor, y_pred: torch.Tensor, threshold: float, patients: Sequence[str], resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Compute `binary_scores` with 95 % bootstrap intervals over patients, see `bootstrap_scores`."""
    needs = {"auc": [y, ~y], "sensitivity": [y], "specificity": [~y]}
    return bootstrap_scores(lambda i: binary_scores(y[i], y_pred[i], threshold), patients, resamples, needs=needs)


class ROCAUC(Metric):
    """Area under the ROC curve over all cases of all ranks.

    Uses logits (B, 1) and labels (B,), 0 or 1, of the engine's output. Also adds the metric ``threshold``, the
    probability threshold with the highest Youden index on these cases.
    """

    def __init__(self) -> None:
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Reset the collected pairs."""
        self._pairs: list[tuple[float, int]] = []

    @reinit__is_reduced
    def update(self, output: Sequence[torch.Tensor]) -> None:
        """Add a batch."""
        logits, labels = output
        self._pairs += list(zip(logits.detach().float().sigmoid()[:, 0].tolist(), labels.tolist(), strict=True))

    def _all(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = torch.tensor([pair for part in distributed.gather_objects(self._pairs) for pair in part])
        return pairs[:, 1] > 0, pairs[:, 0]

    def compute(self) -> float:
        """Return the area under the curve."""
        return roc_auc(*self._all())

    def completed(self, engine: Any, name: str) -> None:
        """Set the area as metric `name`, and the threshold."""
        y, y_pred = self._all()
        engine.state.metrics["threshold"] = youden_threshold(y, y_pred)
        engine.state.metrics[name] = roc_auc(y, y_pred)
