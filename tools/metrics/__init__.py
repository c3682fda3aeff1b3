"""Metrics that ignite and MONAI lack."""

from tools.metrics.binary import BinaryAuc
from tools.metrics.credit import CreditAccuracy, choice_credit, tie_credit
from tools.metrics.detection import Froc
from tools.metrics.grading import Kappa
from tools.metrics.linear import linear_probe
from tools.metrics.segmentation import CaseDice

__all__ = ["BinaryAuc", "CaseDice", "CreditAccuracy", "Froc", "Kappa", "choice_credit", "linear_probe", "tie_credit"]
