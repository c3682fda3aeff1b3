"""Pretext tasks: one module each, 2D and 3D from the same code."""

from tools.pretext.classification import Classification
from tools.pretext.cpc import CPC
from tools.pretext.exemplar import Exemplar
from tools.pretext.jigsaw import Jigsaw
from tools.pretext.lifting import Lifting
from tools.pretext.masked import MaskedPatches
from tools.pretext.rotation import Rotation
from tools.pretext.rpl import RelativePatchLocation
from tools.pretext.task import PretextTask

__all__ = [
    "CPC",
    "Classification",
    "Exemplar",
    "Jigsaw",
    "Lifting",
    "MaskedPatches",
    "PretextTask",
    "RelativePatchLocation",
    "Rotation",
]
