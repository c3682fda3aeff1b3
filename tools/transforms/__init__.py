"""MONAI dictionary transforms that MONAI lacks, and how they are put together."""

from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.transforms.slices import RandSliced, check_slice_axis
from tools.transforms.volume import CheckVolumed, HashVoxelsd, LoadVolumed, PadToRoid

__all__ = [
    "CheckPictured",
    "CheckVolumed",
    "HashVoxelsd",
    "LoadPictured",
    "LoadVolumed",
    "PadToRoid",
    "PrepareIntensityd",
    "RandSliced",
    "ResizePictured",
    "build_preprocessing",
    "build_random_crop",
    "check_slice_axis",
    "foreground",
]
