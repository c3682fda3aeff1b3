"""Cross-entropy that excludes masked targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.utils.distributed import masked_mean


class MaskedCrossEntropy(nn.Module):
    """Cross-entropy of classes over the valid targets."""

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over all ranks; `scores` (B, V, classes), `targets` (B, V), valid unless negative."""
        losses = F.cross_entropy(scores.float().movedim(-1, 1), targets.clamp(min=0), reduction="none")
        return masked_mean(losses, targets >= 0)
