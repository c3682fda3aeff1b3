"""One module per bundle, each with its description as ``BUNDLE``."""
