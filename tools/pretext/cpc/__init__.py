"""Contrastive predictive coding (van den Oord et al., arXiv 1807.03748; Taleb et al., NeurIPS 2020)."""

from tools.pretext.cpc.loss import candidate_top1_correct, cpc_loss
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.cpc.task import CPC

__all__ = [
    "CPC",
    "CPCNetwork",
    "candidate_top1_correct",
    "cpc_loss",
]
