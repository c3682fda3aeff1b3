"""Rotation prediction (Gidaris et al., ICLR 2018; Taleb et al., NeurIPS 2020)."""

from tools.pretext.rotation.network import ViewClassifier
from tools.pretext.rotation.task import Rotation

__all__ = [
    "Rotation",
    "ViewClassifier",
]
