"""Pretext tasks: one module each, 2D and 3D from the same code."""

from tools.pretext.cpc import CPC
from tools.pretext.task import PretextTask

__all__ = ["CPC", "PretextTask"]
