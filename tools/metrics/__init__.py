"""Metrics that ignite and MONAI lack."""

from tools.metrics.credit import CreditAccuracy, choice_credit, tie_credit

__all__ = ["CreditAccuracy", "choice_credit", "tie_credit"]
