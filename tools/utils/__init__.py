"""Helpers without a method: errors, files, figures, memory, process groups, bootstrap intervals."""
