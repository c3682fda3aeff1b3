"""Dice plus cross-entropy of a segmentation network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.utils import compute_tp_fp_fn
from torch import nn

from tools.segmentation.labels import LabelManager
from tools.utils.distributed import gather


class DiceCrossEntropy(nn.Module):
    """Soft Dice of the structures plus cross-entropy of the voxels, equally weighted (Isensee et al., 2021).

    Dice is of the whole batch, so that a structure missing from one crop does no harm, and never of the background.
    While training the batch is that of all ranks; cases are validated one by one, each rank its own number.

    Args:
        coding: what the channels mean.
    """

    def __init__(self, coding: LabelManager) -> None:
        super().__init__()
        self.coding = coding

    def forward(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of scores (B, channels, *spatial) for labels (B, 1, *spatial)."""
        scores, targets = scores.float(), self.coding.targets(labels)
        if self.coding.exclusive:
            entropy = F.cross_entropy(scores, labels[:, 0].long())
        else:
            entropy = F.binary_cross_entropy_with_logits(scores, targets)
        return self.dice(scores, targets) + entropy

    def dice(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the Dice part for scores and targets, both (B, channels, *spatial)."""
        shares = scores.softmax(1)[:, 1:] if self.coding.exclusive else scores.sigmoid()
        targets = targets[:, 1:] if self.coding.exclusive else targets
        axes = [0, *range(2, scores.ndim)]
        counts = torch.stack(compute_tp_fp_fn(shares, targets, axes, ord=1, soft_label=False))
        hit, excess, missed = gather(counts[None]).sum(0) if scores.requires_grad else counts
        smooth = 1e-5  # what neither has is no error
        return (1 - (2 * hit + smooth) / (2 * (hit + excess / 2 + missed / 2) + smooth)).mean()
