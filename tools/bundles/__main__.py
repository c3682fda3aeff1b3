"""``python -m tools.bundles``: write the generated files of all bundles, or compare them with ``--check``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.bundles.generate import differences, write
from tools.utils.excepthook import install_excepthook


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.bundles", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only print a diff, with exit code 1 if files differ")
    arguments = parser.parse_args()
    install_excepthook()
    root = Path(__file__).parents[2]
    if not arguments.check:
        print("\n".join(map(str, write(root))) or "all files are up to date")
    elif found := differences(root):
        print(found)
        sys.exit(
            "error: bundles/ differs from tools/bundles; edit tools/bundles, run python -m tools.bundles, and delete "
            "configurations that no bundle generates"
        )


if __name__ == "__main__":
    main()
