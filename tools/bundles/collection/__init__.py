"""The bundles, each described by one module as ``BUNDLE``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from tools.bundles.bundle import Bundle
from tools.bundles.keys import Key


def bundle_names() -> list[str]:
    """Names of all bundles."""
    return sorted(module.name for module in iter_modules(__path__))


def read_bundle(name: str) -> Bundle:
    """Description of a bundle by its name."""
    return import_module(f"{__name__}.{name}").BUNDLE


@cache
def all_keys() -> dict[str, Key]:
    """Descriptions of the keys of all bundles, by name."""
    return {name: key for bundle in map(read_bundle, bundle_names()) for name, key in bundle.registry.items()}
