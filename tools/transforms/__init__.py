"""Dictionary transforms in addition to MONAI's, and preprocessing pipelines."""

from tools.transforms.geometry import CheckedSpacingd, PadToRoid, pad_by_reflection
from tools.transforms.hashes import HashVoxelsd, hash_cases
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd, ResizeShorterEdged
from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.transforms.slices import RandSliced, check_slice_axis
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd

__all__ = [
    "CheckImage2Dd",
    "CheckVolumed",
    "CheckWindowd",
    "CheckedSpacingd",
    "HashVoxelsd",
    "LoadImage2Dd",
    "LoadVolumed",
    "PadToRoid",
    "PrepareIntensityd",
    "RandSliced",
    "ResizeShorterEdged",
    "build_preprocessing",
    "build_random_crop",
    "check_slice_axis",
    "foreground",
    "hash_cases",
    "pad_by_reflection",
]
