"""Formats of published weights: reading, recognition, renaming and export."""
