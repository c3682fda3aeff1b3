"""Metrics that ignite and MONAI lack."""

from tools.metrics.binary import BinaryAuc
from tools.metrics.credit import CreditAccuracy, choice_credit, tie_credit
from tools.metrics.grading import Kappa
from tools.metrics.segmentation import CaseDice

__all__ = ["BinaryAuc", "CaseDice", "CreditAccuracy", "Kappa", "choice_credit", "tie_credit"]
