"""How much of a pretext task can be solved without looking at the content?"""

from tools.audit.features import TrivialEncoder
from tools.audit.run import audit
from tools.audit.sources import SOURCES, ContentFreed

__all__ = ["SOURCES", "ContentFreed", "TrivialEncoder", "audit"]
