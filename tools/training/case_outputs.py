"""Output paths of inference per case."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from tools.utils.errors import InputError
from tools.utils.outputs import output_path


class CaseOutputs:
    """Handler that provides the output paths of each case and checks them before inference starts.

    Args:
        folder: output folder.
        suffixes: suffixes of the files of a case, such as ``.png``.
    """

    def __init__(self, folder: str | Path, suffixes: Sequence[str]) -> None:
        self.folder = folder
        self.suffixes = suffixes

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator; its data set has the attribute ``data`` with the cases."""
        engine.add_event_handler(Events.STARTED, self.check)

    def check(self, engine: Engine) -> None:
        """Check the paths of all cases.

        Raises:
            InputError: see `output_path`; also if an output is an input of this run.
        """
        cases = engine.state.dataloader.dataset.data
        inputs = {identity for case in cases for file in _files(case) if (identity := _identity(file)) is not None}
        for case in cases:
            for suffix in self.suffixes:
                path = self.path(case["case"], suffix)
                if _identity(path) in inputs:
                    raise InputError(f"{path}: expected an output file, found an input; choose another output_dir")

    def path(self, case: str, suffix: str) -> Path:
        """Return the path of a file of a case."""
        return output_path(self.folder, case + suffix)


def _files(case: Mapping[str, Any]) -> list[str]:
    return [case["image"]] if isinstance(case["image"], str) else list(case["image"])


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:  # no such file, or a DICOM series without a path
        return None
    return state.st_dev, state.st_ino
