"""Binary and ordinal classification: transforms, losses, metrics and reports."""

from tools.classification.binary_metrics import ROCAUC
from tools.classification.binary_reports import BinaryReport, BinaryWriter, ROCFigure
from tools.classification.grading_metrics import QuadraticWeightedKappa
from tools.classification.grading_reports import ConfusionFigure, GradingReport, GradingWriter
from tools.classification.grading_transforms import RandPhotographd, build_grading_preprocessing
from tools.classification.nodule_transforms import LoadNoduled, RandNoduled, build_nodule_preprocessing
from tools.classification.ordinal import OrdinalLoss
from tools.classification.retina import CropRetinad, LocalContrastd

__all__ = [
    "ROCAUC",
    "BinaryReport",
    "BinaryWriter",
    "ConfusionFigure",
    "CropRetinad",
    "GradingReport",
    "GradingWriter",
    "LoadNoduled",
    "LocalContrastd",
    "OrdinalLoss",
    "QuadraticWeightedKappa",
    "ROCFigure",
    "RandNoduled",
    "RandPhotographd",
    "build_grading_preprocessing",
    "build_nodule_preprocessing",
]
