"""Linear probe: classifier on frozen features that is fitted during pretraining."""

from tools.pretext.probe.cases import find_probe_cases, split_probe_cases
from tools.pretext.probe.handler import LinearProbe
from tools.pretext.probe.metric import linear_probe_accuracy
from tools.pretext.probe.transforms import build_probe_preprocessing

__all__ = [
    "LinearProbe",
    "build_probe_preprocessing",
    "find_probe_cases",
    "linear_probe_accuracy",
    "split_probe_cases",
]
