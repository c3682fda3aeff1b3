"""MONAI Label application of the bundles; see ``requirements.txt`` in this folder."""
