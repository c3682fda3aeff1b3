"""Cross-entropy loss with a mask of valid targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tools.utils.distributed import masked_mean


class MaskedCrossEntropy(nn.Module):
    """Cross-entropy averaged over the valid targets of all ranks."""

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss of `scores` (B, V, classes) and `targets` (B, V); negative targets are ignored."""
        losses = F.cross_entropy(scores.float().movedim(-1, 1), targets.clamp(min=0), reduction="none")
        return masked_mean(losses, targets >= 0)
