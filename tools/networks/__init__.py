"""Encoders, heads and decoders."""

from tools.networks.anisotropic import build_anisotropic_encoder, build_stack_encoder
from tools.networks.classification import ClassificationNetwork
from tools.networks.cpc import CPCNetwork
from tools.networks.decoders import LinearSegmentationNetwork, SegmentationNetwork, build_segmenter
from tools.networks.depth_pooling import GroupTransform, build_depth_pooling, resize_group_weights
from tools.networks.detection import DetectionNetwork, StackPyramid
from tools.networks.encoders import ENCODERS, Encoder, build_encoder, register_encoder
from tools.networks.inflation import inflate_resnet
from tools.networks.masked import MaskedAutoencoder
from tools.networks.preparation import prepare_network, set_memory_format
from tools.networks.pretext import (
    OrderNetwork,
    PairNetwork,
    PlaceNetwork,
    ProjectionNetwork,
    ViewNetwork,
    jigsaw_network,
)
from tools.networks.volume_classifier import VolumeClassifier

__all__ = [
    "ENCODERS",
    "CPCNetwork",
    "ClassificationNetwork",
    "DetectionNetwork",
    "Encoder",
    "GroupTransform",
    "LinearSegmentationNetwork",
    "MaskedAutoencoder",
    "OrderNetwork",
    "PairNetwork",
    "PlaceNetwork",
    "ProjectionNetwork",
    "SegmentationNetwork",
    "StackPyramid",
    "ViewNetwork",
    "VolumeClassifier",
    "build_anisotropic_encoder",
    "build_depth_pooling",
    "build_encoder",
    "build_segmenter",
    "build_stack_encoder",
    "inflate_resnet",
    "jigsaw_network",
    "prepare_network",
    "register_encoder",
    "resize_group_weights",
    "set_memory_format",
]
