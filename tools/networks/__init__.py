"""Encoders, heads and decoders; nothing here knows about data."""

from tools.networks.cpc import CPCNetwork
from tools.networks.encoder import ENCODERS, Encoder, build_encoder
from tools.networks.resnet import ResNetEncoder
from tools.networks.unet import UNetEncoder

__all__ = ["ENCODERS", "CPCNetwork", "Encoder", "ResNetEncoder", "UNetEncoder", "build_encoder"]
