"""Relative patch location (Doersch et al., ICCV 2015; Taleb et al., NeurIPS 2020)."""

from tools.pretext.rpl.network import PairClassifier
from tools.pretext.rpl.task import RelativePatchLocation

__all__ = [
    "PairClassifier",
    "RelativePatchLocation",
]
