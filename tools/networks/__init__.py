"""Encoders, heads and decoders; nothing here knows about data."""

from tools.networks.classification import ClassificationNetwork
from tools.networks.densenet import DenseNetEncoder
from tools.networks.encoder import ENCODERS, Encoder, build_encoder
from tools.networks.flat import build_flat_encoder, build_stack_encoder
from tools.networks.inflation import inflate_resnet
from tools.networks.p3d import P3DEncoder
from tools.networks.placement import place_network
from tools.networks.projection import GroupTransform, build_projection, resize_group_weights
from tools.networks.resnet import ResNetEncoder
from tools.networks.segmentation import LinearSegmentationNetwork, SegmentationNetwork, build_segmenter
from tools.networks.unet import UNetEncoder

__all__ = [
    "ENCODERS",
    "ClassificationNetwork",
    "DenseNetEncoder",
    "Encoder",
    "GroupTransform",
    "LinearSegmentationNetwork",
    "P3DEncoder",
    "ResNetEncoder",
    "SegmentationNetwork",
    "UNetEncoder",
    "build_encoder",
    "build_flat_encoder",
    "build_projection",
    "build_segmenter",
    "build_stack_encoder",
    "inflate_resnet",
    "place_network",
    "resize_group_weights",
]
