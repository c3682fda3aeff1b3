"""Release of bundles as self-contained zip archives: checks, packing and model card.

The command is ``python -m tools.release --bundle bundles/<name> --out dist``. This package is not part of releases.
"""

from tools.release.card import model_card
from tools.release.checks import check_bundle
from tools.release.contents import release_files
from tools.release.network import script_problems, shape_problems
from tools.release.pack import archive_name, pack_bundle

__all__ = [
    "archive_name",
    "check_bundle",
    "model_card",
    "pack_bundle",
    "release_files",
    "script_problems",
    "shape_problems",
]
