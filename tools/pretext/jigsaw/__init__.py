"""Jigsaw puzzles (Noroozi and Favaro, ECCV 2016; Taleb et al., NeurIPS 2020)."""

from tools.pretext.jigsaw.network import PatchPositionClassifier, PermutationClassifier, jigsaw_network
from tools.pretext.jigsaw.task import Jigsaw

__all__ = [
    "Jigsaw",
    "PatchPositionClassifier",
    "PermutationClassifier",
    "jigsaw_network",
]
