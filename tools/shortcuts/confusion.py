"""Which classes does a solver tell apart, and which does it take for each other?"""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Confusion:
    """Counts of the answers given, by the true class.

    Args:
        classes: names of the classes.

    Attributes:
        counts: (true class, answer), int64.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.counts = torch.zeros(len(classes), len(classes), dtype=torch.int64)

    def add(self, scores: torch.Tensor, targets: torch.Tensor) -> None:
        """Count a batch: scores (B, V, classes), targets (B, V), negative where nothing was asked."""
        asked = targets >= 0
        pairs = targets[asked] * len(self.classes) + scores.argmax(-1)[asked]
        self.counts += torch.bincount(pairs, minlength=self.counts.numel()).reshape(self.counts.shape)

    def __str__(self) -> str:
        """Share of the commonest class, the best and worst known class, and the commonest mistake, in one line."""
        total = self.counts.sum(1)
        recall = self.counts.diagonal() / total.clamp(min=1)
        best, worst = (int(value) for value in (recall.argmax(), recall.masked_fill(total == 0, 2).argmin()))
        mistakes = self.counts.clone().fill_diagonal_(0)
        true, answer = divmod(int(mistakes.argmax()), len(self.classes))
        return (
            f"commonest class {total.max() / total.sum().clamp(min=1):.1%} of the questions; "
            f"best known {self.classes[best]} ({recall[best]:.0%}), "
            f"least {self.classes[worst]} ({recall[worst]:.0%}); "
            f"commonest mistake {self.classes[answer]} for {self.classes[true]} "
            f"({mistakes[true, answer] / total[true].clamp(min=1):.0%})"
        )
