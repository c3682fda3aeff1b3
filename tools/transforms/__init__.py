"""MONAI dictionary transforms that MONAI lacks."""

from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.volume import CheckVolumed, HashVoxelsd, LoadVolumed, PadToRoid

__all__ = ["CheckVolumed", "HashVoxelsd", "LoadVolumed", "PadToRoid", "PrepareIntensityd", "foreground"]
