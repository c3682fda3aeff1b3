"""Segmentation: label handling, transforms, loss, metrics, reports and inference."""

from tools.segmentation.figures import BestAndWorst
from tools.segmentation.inferer import build_window_inferer
from tools.segmentation.label_transforms import DecodeScoresd, PrepareLabelsd, RestoreGridd
from tools.segmentation.labels import LabelManager, RegionLabels, SoftmaxLabels, brats_regions
from tools.segmentation.loss import DiceCrossEntropy
from tools.segmentation.metrics import CaseDice
from tools.segmentation.reports import SegmentationReport, SegmentationWriter
from tools.segmentation.transforms import (
    build_segmentation_crops,
    build_segmentation_postprocessing,
    build_segmentation_preprocessing,
)

__all__ = [
    "BestAndWorst",
    "CaseDice",
    "DecodeScoresd",
    "DiceCrossEntropy",
    "LabelManager",
    "PrepareLabelsd",
    "RegionLabels",
    "RestoreGridd",
    "SegmentationReport",
    "SegmentationWriter",
    "SoftmaxLabels",
    "brats_regions",
    "build_segmentation_crops",
    "build_segmentation_postprocessing",
    "build_segmentation_preprocessing",
    "build_window_inferer",
]
