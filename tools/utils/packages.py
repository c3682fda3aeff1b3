"""Optional packages, and the message for one that is missing."""

from __future__ import annotations

import importlib.util

from tools.utils.errors import InputError


def require_package(module: str, package: str, user: str) -> None:
    """Check that an optional package is installed.

    Args:
        module: module that is imported.
        package: name of its distribution, for ``pip install``.
        user: what needs it, for the message, such as ``encoder swin``.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"{user}: expected the package {package}, found it not installed; pip install {package}")
