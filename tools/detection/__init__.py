"""Detection of lesions: what stands between a network's maps and boxes."""

from tools.detection.detector import DetectionLoss, Detector
from tools.detection.suppression import suppress
from tools.detection.views import StackViews

__all__ = ["DetectionLoss", "Detector", "StackViews", "suppress"]
