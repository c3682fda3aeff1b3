"""MONAI dictionary transforms that MONAI lacks, and how they are put together."""

from tools.transforms.geometry import PadToRoid, Resampled, pad_by_reflection
from tools.transforms.hashes import HashVoxelsd, hash_cases
from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.transforms.slices import RandSliced, check_slice_axis
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd

__all__ = [
    "CheckPictured",
    "CheckVolumed",
    "CheckWindowd",
    "HashVoxelsd",
    "LoadPictured",
    "LoadVolumed",
    "PadToRoid",
    "PrepareIntensityd",
    "RandSliced",
    "Resampled",
    "ResizePictured",
    "build_preprocessing",
    "build_random_crop",
    "check_slice_axis",
    "foreground",
    "hash_cases",
    "pad_by_reflection",
]
