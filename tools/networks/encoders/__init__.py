"""Encoders, one per module: a module in this folder that registers an encoder is found without being listed."""

import importlib
import pkgutil

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.registry import ENCODERS, build_encoder, register_encoder

__all__ = ["ENCODERS", "Encoder", "build_encoder", "register_encoder"]


def import_modules() -> None:
    """Import every module of this package, which registers its encoders."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


import_modules()
