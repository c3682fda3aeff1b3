"""Exemplar training with a triplet or NT-Xent loss (Dosovitskiy et al., TPAMI 2016; Taleb et al., NeurIPS 2020)."""

from tools.pretext.exemplar.loss import NTXentLoss, TripletLoss, exemplar_loss
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.exemplar.task import Exemplar

__all__ = [
    "Exemplar",
    "NTXentLoss",
    "ProjectionNetwork",
    "TripletLoss",
    "exemplar_loss",
]
