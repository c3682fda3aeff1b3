"""Encoders, one per module; modules in this folder that register an encoder are imported automatically."""

import importlib
import pkgutil

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import (
    ENCODERS,
    PRESETS,
    build_encoder,
    encoder_key,
    parse_encoder,
    register_encoder,
    register_preset,
)

__all__ = [
    "ENCODERS",
    "PRESETS",
    "Encoder",
    "build_encoder",
    "encoder_key",
    "parse_encoder",
    "register_encoder",
    "register_preset",
]


def import_modules() -> None:
    """Import every module of this package, which registers its encoders."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


import_modules()
