"""Modules of the bundles, each with the attribute ``BUNDLE``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from tools.bundles.bundle import Bundle
from tools.bundles.keys import Key


def bundle_names() -> list[str]:
    """Return the names of all bundles."""
    return sorted(module.name for module in iter_modules(__path__))


def read_bundle(name: str) -> Bundle:
    """Return a bundle by name."""
    return import_module(f"{__name__}.{name}").BUNDLE


@cache
def all_keys() -> dict[str, Key]:
    """Return the keys of all bundles by name."""
    return {name: key for bundle in map(read_bundle, bundle_names()) for name, key in bundle.registry.items()}
