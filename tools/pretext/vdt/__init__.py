"""Supervised 2D-to-3D pretraining by a variable dimension transform (Zhang et al., arXiv 2201.01426)."""

from tools.pretext.vdt.network import VolumeClassifier
from tools.pretext.vdt.photographs import LoadRGBd, RandResizedCropd, ResizedCenterCropd, build_photograph_preprocessing
from tools.pretext.vdt.task import VariableDimensionTransform

__all__ = [
    "LoadRGBd",
    "RandResizedCropd",
    "ResizedCenterCropd",
    "VariableDimensionTransform",
    "VolumeClassifier",
    "build_photograph_preprocessing",
]
