"""Encoders, heads and decoders; nothing here knows about data."""

from tools.networks.classification import ClassificationNetwork
from tools.networks.cpc import CPCNetwork
from tools.networks.densenet import DenseNetEncoder
from tools.networks.detection import DetectionNetwork, StackPyramid
from tools.networks.encoder import ENCODERS, Encoder, build_encoder
from tools.networks.flat import build_flat_encoder, build_stack_encoder
from tools.networks.inflation import inflate_resnet
from tools.networks.masked import MaskedAutoencoder
from tools.networks.p3d import P3DEncoder
from tools.networks.placement import place_network
from tools.networks.pretext import (
    OrderNetwork,
    PairNetwork,
    PlaceNetwork,
    ProjectionNetwork,
    ViewNetwork,
    jigsaw_network,
)
from tools.networks.projection import GroupTransform, build_projection, resize_group_weights
from tools.networks.resnet import ResNetEncoder
from tools.networks.segmentation import LinearSegmentationNetwork, SegmentationNetwork, build_segmenter
from tools.networks.unet import UNetEncoder
from tools.networks.volume_classifier import VolumeClassifier

__all__ = [
    "ENCODERS",
    "CPCNetwork",
    "ClassificationNetwork",
    "DenseNetEncoder",
    "DetectionNetwork",
    "Encoder",
    "GroupTransform",
    "LinearSegmentationNetwork",
    "MaskedAutoencoder",
    "OrderNetwork",
    "P3DEncoder",
    "PairNetwork",
    "PlaceNetwork",
    "ProjectionNetwork",
    "ResNetEncoder",
    "SegmentationNetwork",
    "StackPyramid",
    "UNetEncoder",
    "ViewNetwork",
    "VolumeClassifier",
    "build_encoder",
    "build_flat_encoder",
    "build_projection",
    "build_segmenter",
    "build_stack_encoder",
    "inflate_resnet",
    "jigsaw_network",
    "place_network",
    "resize_group_weights",
]
