"""Metrics that ignite and MONAI lack."""

from tools.metrics.choice import ChoiceAccuracy, choice_correct

__all__ = ["ChoiceAccuracy", "choice_correct"]
