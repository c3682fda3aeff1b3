"""Execution of the workflows of a bundle in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.engines  # noqa: F401 - preloaded for the processes of all runs
from monai.bundle import ConfigWorkflow

import tools.training  # noqa: F401


def run_workflows(spec: dict[str, Any]) -> None:
    """Run workflows of a bundle one after another, like ``monai.bundle run``.

    Args:
        spec: ``root`` of the bundle, ``settings`` by key, and ``runs``, a list of (workflow type, configurations) with
            the workflow types "train" and "eval".
    """
    configs = Path(spec["root"]) / "configs"
    for kind, names in spec["runs"]:
        workflow = ConfigWorkflow(
            config_file=[str(configs / f"{name}.json") for name in names],
            meta_file=str(configs / "metadata.json"),
            logging_file=str(configs / "logging.conf"),
            workflow_type=kind,
            bundle_root=spec["root"],
            **spec["settings"],
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
