"""Segmentation: label handling, transforms, loss, metrics, reports and inference."""

from tools.segmentation.figures import BestWorstFigure
from tools.segmentation.inferer import build_sliding_window_inferer
from tools.segmentation.label_transforms import DecodeLogitsd, MapLabelsd, RestoreOriginalGridd
from tools.segmentation.labels import LabelManager, RegionLabels, SoftmaxLabels, build_brats_labels
from tools.segmentation.loss import DiceCELoss
from tools.segmentation.metrics import CaseDice
from tools.segmentation.reports import SegmentationReport, SegmentationWriter
from tools.segmentation.transforms import (
    build_segmentation_crops,
    build_segmentation_postprocessing,
    build_segmentation_preprocessing,
)

__all__ = [
    "BestWorstFigure",
    "CaseDice",
    "DecodeLogitsd",
    "DiceCELoss",
    "LabelManager",
    "MapLabelsd",
    "RegionLabels",
    "RestoreOriginalGridd",
    "SegmentationReport",
    "SegmentationWriter",
    "SoftmaxLabels",
    "build_brats_labels",
    "build_segmentation_crops",
    "build_segmentation_postprocessing",
    "build_segmentation_preprocessing",
    "build_sliding_window_inferer",
]
