"""What does pretraining buy? Initialisations × label fractions × seeds of one downstream bundle, and their report."""

from tools.study.study import Study

__all__ = ["Study"]
