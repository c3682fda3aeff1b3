"""The process that trains, and tests, one run of a study: ``python -m tools.study.cell ORDER.json``."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tools.errors import install_excepthook


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


def follow_parent() -> None:
    """End this process when the one that began it ends, which then no longer holds the other end of the input."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock a daemon must not hold at the end
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    install_excepthook()
    follow_parent()
    run_order(json.loads(Path(sys.argv[1]).read_text()))
