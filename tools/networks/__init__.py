"""Encoders, heads and decoders; nothing here knows about data."""

from tools.networks.classification import ClassificationNetwork
from tools.networks.cpc import CPCNetwork
from tools.networks.densenet import DenseNetEncoder
from tools.networks.encoder import ENCODERS, Encoder, build_encoder
from tools.networks.pretext import (
    OrderNetwork,
    PairNetwork,
    PlaceNetwork,
    ProjectionNetwork,
    ViewNetwork,
    jigsaw_network,
)
from tools.networks.resnet import ResNetEncoder
from tools.networks.segmentation import LinearSegmentationNetwork, SegmentationNetwork, build_segmenter
from tools.networks.unet import UNetEncoder

__all__ = [
    "ENCODERS",
    "CPCNetwork",
    "ClassificationNetwork",
    "DenseNetEncoder",
    "Encoder",
    "LinearSegmentationNetwork",
    "OrderNetwork",
    "PairNetwork",
    "PlaceNetwork",
    "ProjectionNetwork",
    "ResNetEncoder",
    "SegmentationNetwork",
    "UNetEncoder",
    "ViewNetwork",
    "build_encoder",
    "build_segmenter",
    "jigsaw_network",
]
