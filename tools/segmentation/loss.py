"""Dice plus cross-entropy loss for segmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.utils import compute_tp_fp_fn
from torch import nn

from tools.segmentation.labels import LabelManager
from tools.utils.distributed import gather


class DiceCELoss(nn.Module):
    """Sum of batch Dice loss and cross-entropy (Isensee et al., Nature Methods 2021).

    Dice is computed over the whole batch, so that classes missing from a crop add no noise, and without the background.
    In training the batch includes all ranks. In validation each rank computes the loss of its own cases.

    Args:
        label_manager: maps labels to channels of the network.
    """

    def __init__(self, label_manager: LabelManager) -> None:
        super().__init__()
        self.label_manager = label_manager

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (B, channels, *spatial) for labels (B, 1, *spatial)."""
        logits, targets = logits.float(), self.label_manager.targets(labels)
        if self.label_manager.has_regions:
            cross_entropy = F.binary_cross_entropy_with_logits(logits, targets)
        else:
            cross_entropy = F.cross_entropy(logits, labels[:, 0].long())
        return self.dice(logits, targets) + cross_entropy

    def dice(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the Dice loss of logits and binary targets, both (B, channels, *spatial)."""
        probabilities = logits.sigmoid() if self.label_manager.has_regions else logits.softmax(1)[:, 1:]
        targets = targets if self.label_manager.has_regions else targets[:, 1:]
        axes = [0, *range(2, logits.ndim)]
        counts = torch.stack(compute_tp_fp_fn(probabilities, targets, axes, ord=1, soft_label=False))
        tp, fp, fn = gather(counts[None]).sum(0) if logits.requires_grad else counts
        smooth = 1e-5  # a class absent from both has a Dice of 1
        return (1 - (2 * tp + smooth) / (2 * (tp + fp / 2 + fn / 2) + smooth)).mean()
