"""Checks for optional packages."""

from __future__ import annotations

import importlib.util

from tools.utils.errors import InputError


def require_package(module: str, package: str, user: str) -> None:
    """Check that an optional package is installed.

    Args:
        module: name of the imported module.
        package: name of the distribution for ``pip install``.
        user: feature that requires the package for the message, such as ``encoder swin``.

    Raises:
        InputError: if the package is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"{user}: expected the package {package}, found none; pip install {package}")
