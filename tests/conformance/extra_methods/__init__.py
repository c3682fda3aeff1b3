"""Pretext methods of the tests alone, one module each: they differ from all others, and no shared code knows them."""
