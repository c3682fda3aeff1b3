"""Supervised 2D-to-3D pretraining by a variable dimension transform (Zhang et al., arXiv 2201.01426)."""

from tools.pretext.vdt.network import VolumeClassifier
from tools.pretext.vdt.photographs import CutMiddled, LoadColourd, RandCutd, build_colour_reading
from tools.pretext.vdt.task import VariableDimensionTransform
from tools.pretext.vdt.transforms import ChannelsToDepthd

__all__ = [
    "ChannelsToDepthd",
    "CutMiddled",
    "LoadColourd",
    "RandCutd",
    "VariableDimensionTransform",
    "VolumeClassifier",
    "build_colour_reading",
]
