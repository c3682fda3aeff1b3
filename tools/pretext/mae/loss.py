"""Reconstruction loss of masked autoencoding."""

from __future__ import annotations

import torch
from torch import nn

from tools.utils.distributed import masked_mean


class ReconstructionLoss(nn.Module):
    """Mean squared error over the voxels of all ranks whose target is not NaN, as of anonymised voxels."""

    def forward(self, prediction: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss of predictions and targets of the same shape."""
        return masked_mean((prediction - targets.nan_to_num()).square(), ~targets.isnan())


def reconstruction_loss(exclude_anonymised: bool = False) -> nn.Module:
    """Build the loss: mean squared error, without anonymised voxels if they are excluded."""
    return ReconstructionLoss() if exclude_anonymised else nn.MSELoss()
