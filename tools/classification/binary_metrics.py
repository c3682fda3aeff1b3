"""How well yes is told from no: area under the ROC curve, and sensitivity and specificity at a threshold."""

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


def auc(positive: torch.Tensor, scores: torch.Tensor) -> float:
    """Area under the ROC curve of scores (B,) for a yes or no (B,); NaN where all or none are yes.

    Ranked at once; MONAI's ``compute_roc_auc`` takes a Python step per score, too many for a bootstrap.
    """
    if positive.all() or not positive.any():
        return float("nan")
    ranks = torch.from_numpy(rankdata(scores.numpy()))  # ties share theirs
    count, others = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def roc_curve(positive: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """False and true positive rates at every threshold, from "none is yes" to "all are", and the thresholds.

    At a threshold t, yes is what scores t or more; the first is infinite.

    Args:
        positive: (B,), bool, some True and some not.
        scores: (B,).
    """
    thresholds = torch.cat([torch.tensor([torch.inf]), scores.double().unique().flip(0)])
    said = scores.double()[None] >= thresholds[:, None]
    rates = [(said & group).sum(1) / group.sum() for group in (~positive, positive)]
    return rates[0], rates[1], thresholds


def best_threshold(positive: torch.Tensor, scores: torch.Tensor) -> float:
    """Threshold of the largest sensitivity + specificity (Youden, 1950), halfway to the next lower score.

    Raises:
        InputError: all or none are yes.
    """
    if positive.all() or not positive.any():
        raise InputError(
            f"validation data: expected some of both labels, found {int(positive.sum())} of {len(positive)} with label "
            "1; change --validation_fraction or pass a --split_file"
        )
    false, true, thresholds = roc_curve(positive, scores)
    best = int((true - false).argmax())
    following = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    upper = thresholds[best] if best else following
    return float((upper + following) / 2)


def binary_scores(positive: torch.Tensor, chances: torch.Tensor, threshold: float) -> dict[str, float]:
    """Figures of probabilities (B,) for a yes or no (B,); of absent labels NaN."""
    said = chances > threshold
    return {
        "auc": auc(positive, chances),
        "sensitivity": float(said[positive].float().mean()),
        "specificity": float((~said)[~positive].float().mean()),
        "accuracy": float((said == positive).float().mean()),
    }


def binary_report(
    positive: torch.Tensor, chances: torch.Tensor, threshold: float, patients: Sequence[str], resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Figures of `binary_scores` with 95 % bootstrap intervals over patients, see `bootstrap_scores`."""
    needs = {"auc": [positive, ~positive], "sensitivity": [positive], "specificity": [~positive]}
    return bootstrap_scores(
        lambda i: binary_scores(positive[i], chances[i], threshold), patients, resamples, needs=needs
    )


class BinaryAuc(Metric):
    """Area under the ROC curve of everything seen, over all ranks; sets ``threshold`` beside it.

    Takes scores (B, 1) and labels (B,), 0 or 1, from the engine's output. The threshold, of the probability, is the
    best one for what was seen: for use on other data than these.
    """

    def __init__(self) -> None:
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
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
        """Return the area."""
        return auc(*self._all())

    def completed(self, engine: Any, name: str) -> None:
        """Put the area under `name`, and the threshold beside it."""
        positive, chances = self._all()
        engine.state.metrics["threshold"] = best_threshold(positive, chances)
        engine.state.metrics[name] = auc(positive, chances)
