"""Masked autoencoding (He et al., CVPR 2022)."""

from tools.pretext.mae.loss import ReconstructionLoss, reconstruction_loss
from tools.pretext.mae.network import MaskedAutoencoder
from tools.pretext.mae.task import MaskedAutoencoding

__all__ = [
    "MaskedAutoencoder",
    "MaskedAutoencoding",
    "ReconstructionLoss",
    "reconstruction_loss",
]
