"""Linear probe: a classifier on frozen features, fitted during pretraining."""

from tools.pretext.probe.cases import find_probe_cases, halve_cases
from tools.pretext.probe.handler import LinearProbe
from tools.pretext.probe.metric import linear_probe
from tools.pretext.probe.transforms import build_probe_preprocessing

__all__ = [
    "LinearProbe",
    "build_probe_preprocessing",
    "find_probe_cases",
    "halve_cases",
    "linear_probe",
]
