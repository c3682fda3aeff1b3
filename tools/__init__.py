"""Python package shared by all bundles; configurations refer to it with ``_target_``."""

__version__ = "0.1.0"
