"""Generated data sets, written once as real files in the layouts real data comes in."""

from tools.phantoms.brain import brain_phantoms
from tools.phantoms.fundus import fundus_phantoms

__all__ = ["brain_phantoms", "fundus_phantoms"]
