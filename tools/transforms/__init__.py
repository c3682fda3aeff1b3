"""MONAI dictionary transforms that MONAI lacks, and how they are put together."""

from tools.transforms.colour import CutMiddled, LoadColourd, RandCutd, build_colour_reading
from tools.transforms.fundus import CropRetinad, LocalContrastd
from tools.transforms.geometry import PadToRoid, Resampled, pad_by_reflection
from tools.transforms.grading import RandViewd, build_grading_preprocessing
from tools.transforms.hashes import HashVoxelsd, hash_cases
from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.labels import DecodeScoresd, PrepareLabelsd, RestoreGridd
from tools.transforms.lift import Lifted
from tools.transforms.nodules import LoadNoduled, RandNoduleViewd, build_nodule_preprocessing
from tools.transforms.picture import CheckPictured, LoadPictured, ResizePictured
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.transforms.probe import build_probe_preprocessing
from tools.transforms.scan_slices import LoadScanSlicesd, build_scan_preprocessing
from tools.transforms.segmentation import (
    build_segmentation_crops,
    build_segmentation_postprocessing,
    build_segmentation_preprocessing,
)
from tools.transforms.slice_stacks import (
    LoadSliceStackd,
    StackPlaces,
    build_stack_preprocessing,
    stack_places,
    take_stacks,
)
from tools.transforms.slices import RandSliced, check_slice_axis
from tools.transforms.stack_fitting import FitStackd, fit_stacks
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd

__all__ = [
    "CheckPictured",
    "CheckVolumed",
    "CheckWindowd",
    "CropRetinad",
    "CutMiddled",
    "DecodeScoresd",
    "FitStackd",
    "HashVoxelsd",
    "Lifted",
    "LoadColourd",
    "LoadNoduled",
    "LoadPictured",
    "LoadScanSlicesd",
    "LoadSliceStackd",
    "LoadVolumed",
    "LocalContrastd",
    "PadToRoid",
    "PrepareIntensityd",
    "PrepareLabelsd",
    "RandCutd",
    "RandNoduleViewd",
    "RandSliced",
    "RandViewd",
    "Resampled",
    "ResizePictured",
    "RestoreGridd",
    "StackPlaces",
    "build_colour_reading",
    "build_grading_preprocessing",
    "build_nodule_preprocessing",
    "build_preprocessing",
    "build_probe_preprocessing",
    "build_random_crop",
    "build_scan_preprocessing",
    "build_segmentation_crops",
    "build_segmentation_postprocessing",
    "build_segmentation_preprocessing",
    "build_stack_preprocessing",
    "check_slice_axis",
    "fit_stacks",
    "foreground",
    "hash_cases",
    "pad_by_reflection",
    "stack_places",
    "take_stacks",
]
