"""Classification: ordinal grades and yes-or-no labels; transforms, metrics and reports."""

from tools.classification.binary_metrics import BinaryAuc
from tools.classification.binary_reports import BinaryReport, BinaryWriter, RocFigure
from tools.classification.grading_metrics import Kappa
from tools.classification.grading_reports import ConfusionFigure, GradingReport, GradingWriter
from tools.classification.grading_transforms import RandViewd, build_grading_preprocessing
from tools.classification.nodule_transforms import LoadNoduled, RandNoduleViewd, build_nodule_preprocessing
from tools.classification.ordinal import OrdinalLoss
from tools.classification.retina import CropRetinad, LocalContrastd

__all__ = [
    "BinaryAuc",
    "BinaryReport",
    "BinaryWriter",
    "ConfusionFigure",
    "CropRetinad",
    "GradingReport",
    "GradingWriter",
    "Kappa",
    "LoadNoduled",
    "LocalContrastd",
    "OrdinalLoss",
    "RandNoduleViewd",
    "RandViewd",
    "RocFigure",
    "build_grading_preprocessing",
    "build_nodule_preprocessing",
]
