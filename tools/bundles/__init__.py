"""Source of the files under ``bundles/``: bundle families, one module per bundle, key registry and generator."""
