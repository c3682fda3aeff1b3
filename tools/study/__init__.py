"""Comparison of initialisations: runs over label fractions and seeds of a downstream bundle, and their report."""

from tools.study.study import Study

__all__ = ["Study"]
