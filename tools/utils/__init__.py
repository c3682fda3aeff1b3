"""Utilities: errors, files, figures, memory, process groups and bootstrap intervals."""
