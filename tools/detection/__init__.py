"""Lesion detection in stacks of CT slices: network, loss, transforms, metrics, reports and inference."""

from tools.detection.augmentation import StackAugmentation
from tools.detection.detector import DetectionLoss, Detector
from tools.detection.figures import LesionFigure
from tools.detection.linking import Lesion, link_slices
from tools.detection.metrics import FROC
from tools.detection.network import DetectionNetwork, StackPyramid
from tools.detection.nms import nms
from tools.detection.postprocessing import DetectBoxesd
from tools.detection.reports import DetectionReport, DetectionWriter
from tools.detection.scan import PrepareScanBatch, ScanDetector, ScanInferer, lesion_boxes
from tools.detection.scan_slices import LoadScanSlicesd, build_scan_preprocessing
from tools.detection.slice_stacks import (
    LoadSliceStackd,
    StackPositions,
    build_stack_preprocessing,
    extract_stacks,
    stack_positions,
)
from tools.detection.stack_resizing import ResizeStackd, resize_stacks

__all__ = [
    "FROC",
    "DetectBoxesd",
    "DetectionLoss",
    "DetectionNetwork",
    "DetectionReport",
    "DetectionWriter",
    "Detector",
    "Lesion",
    "LesionFigure",
    "LoadScanSlicesd",
    "LoadSliceStackd",
    "PrepareScanBatch",
    "ResizeStackd",
    "ScanDetector",
    "ScanInferer",
    "StackAugmentation",
    "StackPositions",
    "StackPyramid",
    "build_scan_preprocessing",
    "build_stack_preprocessing",
    "extract_stacks",
    "lesion_boxes",
    "link_slices",
    "nms",
    "resize_stacks",
    "stack_positions",
]
