"""Generated data sets, written once as files in the layouts of published data sets."""

from tools.phantoms.brain import brain_phantoms
from tools.phantoms.brats import brats_phantoms
from tools.phantoms.deeplesion import deeplesion_phantoms
from tools.phantoms.fundus import fundus_phantoms
from tools.phantoms.hippocampus import hippocampus_phantoms
from tools.phantoms.nodules import nodule_phantoms
from tools.phantoms.pancreas import pancreas_phantoms
from tools.phantoms.photographs import photograph_phantoms

__all__ = [
    "brain_phantoms",
    "brats_phantoms",
    "deeplesion_phantoms",
    "fundus_phantoms",
    "hippocampus_phantoms",
    "nodule_phantoms",
    "pancreas_phantoms",
    "photograph_phantoms",
]
