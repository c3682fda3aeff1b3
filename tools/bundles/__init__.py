"""Source of every bundle under ``bundles/``: families, one module per bundle, key registry and generator."""
