"""Confusion matrix of the classes of a pretext task."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class ConfusionMatrix:
    """Confusion matrix with a one-line summary.

    Args:
        classes: names of the classes.

    Attributes:
        counts: (true class, predicted class), int64.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.counts = torch.zeros(len(classes), len(classes), dtype=torch.int64)

    def add(self, scores: torch.Tensor, targets: torch.Tensor) -> None:
        """Count a batch: scores (B, V, classes), targets (B, V), valid unless negative."""
        valid = targets >= 0
        pairs = targets[valid] * len(self.classes) + scores.argmax(-1)[valid]
        self.counts += torch.bincount(pairs, minlength=self.counts.numel()).reshape(self.counts.shape)

    def __str__(self) -> str:
        """Return a summary: fraction of the largest class, best and worst recall, and the most frequent error."""
        total = self.counts.sum(1)
        recall = self.counts.diagonal() / total.clamp(min=1)
        best, worst = (int(value) for value in (recall.argmax(), recall.masked_fill(total == 0, 2).argmin()))
        errors = self.counts.clone().fill_diagonal_(0)
        true, predicted = divmod(int(errors.argmax()), len(self.classes))
        return (
            f"most frequent class {total.max() / total.sum().clamp(min=1):.1%}; "
            f"recall highest for {self.classes[best]} ({recall[best]:.0%}), "
            f"lowest for {self.classes[worst]} ({recall[worst]:.0%}); "
            f"most frequent error {self.classes[predicted]} for {self.classes[true]} "
            f"({errors[true, predicted] / total[true].clamp(min=1):.0%})"
        )
