"""Detection of lesions: what stands between a network's maps and boxes."""

from tools.detection.detector import DetectionLoss, Detector
from tools.detection.linking import Lesion, link_slices
from tools.detection.postprocessing import DetectBoxesd
from tools.detection.scan import KeySlices, LabelDetector, ScanInferer, lesion_boxes
from tools.detection.suppression import suppress
from tools.detection.views import StackViews

__all__ = [
    "DetectBoxesd",
    "DetectionLoss",
    "Detector",
    "KeySlices",
    "LabelDetector",
    "Lesion",
    "ScanInferer",
    "StackViews",
    "lesion_boxes",
    "link_slices",
    "suppress",
]
