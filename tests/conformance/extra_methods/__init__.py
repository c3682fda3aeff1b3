"""Pretext methods that no bundle uses, each in one module: they differ from all others, and no shared code knows them."""
