"""Networks: encoders, heads and decoders."""

from tools.networks.anisotropic import build_anisotropic_encoder, build_stack_encoder
from tools.networks.classification import ClassificationNetwork
from tools.networks.decoders import LinearSegmentationNetwork, SegmentationNetwork, build_segmenter
from tools.networks.depth_pooling import GroupTransform, build_depth_pooling
from tools.networks.encoders import ENCODERS, Encoder, build_encoder, register_encoder
from tools.networks.inflation import inflate_resnet
from tools.networks.preparation import prepare_network, set_memory_format

__all__ = [
    "ENCODERS",
    "ClassificationNetwork",
    "Encoder",
    "GroupTransform",
    "LinearSegmentationNetwork",
    "SegmentationNetwork",
    "build_anisotropic_encoder",
    "build_depth_pooling",
    "build_encoder",
    "build_segmenter",
    "build_stack_encoder",
    "inflate_resnet",
    "prepare_network",
    "register_encoder",
    "set_memory_format",
]
