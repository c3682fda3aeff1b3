"""Generated data sets, written once as real files in the layouts real data comes in."""

from tools.phantoms.brain import brain_phantoms
from tools.phantoms.brats import brats_phantoms
from tools.phantoms.deeplesion import deeplesion_phantoms
from tools.phantoms.fundus import fundus_phantoms
from tools.phantoms.nodules import nodule_phantoms
from tools.phantoms.pancreas import pancreas_phantoms
from tools.phantoms.pictures import picture_phantoms

__all__ = [
    "brain_phantoms",
    "brats_phantoms",
    "deeplesion_phantoms",
    "fundus_phantoms",
    "nodule_phantoms",
    "pancreas_phantoms",
    "picture_phantoms",
]
