"""Detection of lesions in stacks of slices: network, loss, transforms, metrics, reports and inference."""

from tools.detection.detector import DetectionLoss, Detector
from tools.detection.figures import LesionFigure
from tools.detection.linking import Lesion, link_slices
from tools.detection.metrics import Froc
from tools.detection.network import DetectionNetwork, StackPyramid
from tools.detection.nms import nms
from tools.detection.postprocessing import DetectBoxesd
from tools.detection.reports import DetectionReport, DetectionWriter
from tools.detection.scan import KeySlices, LabelDetector, ScanInferer, lesion_boxes
from tools.detection.scan_slices import LoadScanSlicesd, build_scan_preprocessing
from tools.detection.slice_stacks import (
    LoadSliceStackd,
    StackPlaces,
    build_stack_preprocessing,
    stack_places,
    take_stacks,
)
from tools.detection.stack_fitting import FitStackd, fit_stacks
from tools.detection.views import StackViews

__all__ = [
    "DetectBoxesd",
    "DetectionLoss",
    "DetectionNetwork",
    "DetectionReport",
    "DetectionWriter",
    "Detector",
    "FitStackd",
    "Froc",
    "KeySlices",
    "LabelDetector",
    "Lesion",
    "LesionFigure",
    "LoadScanSlicesd",
    "LoadSliceStackd",
    "ScanInferer",
    "StackPlaces",
    "StackPyramid",
    "StackViews",
    "build_scan_preprocessing",
    "build_stack_preprocessing",
    "fit_stacks",
    "lesion_boxes",
    "link_slices",
    "nms",
    "stack_places",
    "take_stacks",
]
