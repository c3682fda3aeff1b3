"""The bundles in MONAI Label, which is installed for that alone: see ``requirements.txt`` here."""
