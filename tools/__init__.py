"""Code shared by every bundle of the collection; configs name it through ``_target_``."""

__version__ = "0.1.0"
