"""What the process of one run does: a bundle's workflows, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.engines  # noqa: F401 - what every run needs is loaded once for all of them, with this module
from monai.bundle import ConfigWorkflow

import tools.training  # noqa: F401


def run_order(order: dict[str, Any]) -> None:
    """Run a bundle's workflows one after another, as ``monai.bundle run`` would.

    Args:
        order: ``root`` of the bundle, ``settings`` by key, and ``runs``, for each run its kind ("train" or "eval") and
            configurations.
    """
    configs = Path(order["root"]) / "configs"
    for kind, names in order["runs"]:
        workflow = ConfigWorkflow(
            config_file=[str(configs / f"{name}.json") for name in names],
            meta_file=str(configs / "metadata.json"),
            logging_file=str(configs / "logging.conf"),
            workflow_type=kind,
            bundle_root=order["root"],
            **order["settings"],
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
