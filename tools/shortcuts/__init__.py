"""Shortcut test of pretext tasks with content-free images and handcrafted features."""

from tools.shortcuts.features import HandcraftedFeatures
from tools.shortcuts.run import shortcut_test
from tools.shortcuts.sources import SOURCES, ContentFreeImaged

__all__ = ["SOURCES", "ContentFreeImaged", "HandcraftedFeatures", "shortcut_test"]
