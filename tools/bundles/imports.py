"""Check of the modules that configurations import, since MONAI ignores failed imports."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from tools.utils.errors import InputError, one_line

STATEMENT = re.compile(r"\$\s*(?:import|from)\s+([\w.]+)")


def check_imports(config: Mapping[str, Any]) -> None:
    """Import every module under ``imports``, for example a module with custom encoders.

    Args:
        config: configuration, as `monai.bundle.ConfigParser.load_config_files` merges it from files.

    Raises:
        InputError: if a module cannot be imported.
    """
    for statement in config.get("imports", []):
        found = STATEMENT.match(str(statement))
        if found is None:
            raise InputError(f"imports: expected statements such as '$import my_encoders', found {statement!r}")
        try:
            importlib.import_module(found[1])
        except Exception as error:  # modules of users raise any type
            raise InputError(
                f"imports: expected an importable module, found that {found[1]} fails: {type(error).__name__}: "
                f"{one_line(error)}; Python searches the working directory and PYTHONPATH"
            ) from error
