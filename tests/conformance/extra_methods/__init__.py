"""Pretext methods for tests only, one module each, which are not registered in shared code."""
