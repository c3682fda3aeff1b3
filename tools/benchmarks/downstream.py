"""Speed of the downstream bundles: ``python -m tools.benchmarks.downstream [--bundle pancreas]``.

A training step against the bare network's forward and backward pass, preparing data against finding it cached, the wait
for data, and, in 3D, sliding-window inference against MONAI's plain function, side by side in one run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import fire
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.inferers import sliding_window_inference
from torch import nn

from tools.benchmarks.cpc import seconds
from tools.benchmarks.report import report
from tools.errors import install_excepthook
from tools.memory import reuse_freed_memory


def workflow(bundle: str, folder: str, steps: int, **overrides: Any) -> ConfigWorkflow:
    """A run of one epoch, its files in `folder`."""
    root = Path(__file__).parents[2] / "bundles" / bundle
    settings = {"epochs": 1, "steps_per_epoch": steps, "val_interval": 1, "warmup_epochs": 0, "cache": "disk"}
    made = ConfigWorkflow(
        str(root / "configs/train.json"),
        logging_file=False,
        workflow_type="train",
        bundle_root=str(root),
        models_dir=f"{folder}/models",
        output_dir=f"{folder}/output",
        **{**settings, **overrides},
    )
    made.initialize()
    return made


def both_passes(network: nn.Module, images: torch.Tensor) -> None:
    """Forward and backward pass of a network, and nothing else."""
    network(images).mean().backward()


def training(
    bundle: str,
    folder: str,
    steps: int,
    bare: Callable[[nn.Module, torch.Tensor], None] = both_passes,
    **overrides: Any,
) -> tuple[dict[str, float], ConfigWorkflow]:
    """Seconds per step of a run, and of the bare passes on its last batch."""
    made = workflow(bundle, folder, steps, **overrides)
    begin = time.perf_counter()
    trainer = made.parser.get_parsed_content("train#trainer")
    prepared = time.perf_counter() - begin
    cases = sum(len(made.parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate"))
    marks: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: marks.append(time.perf_counter()))
    batches: list[torch.Tensor] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: batches.append(engine.state.output["image"]))
    made.run()
    network = made.parser.get_parsed_content("network").train()
    step = sorted(b - a for a, b in pairwise(marks))[(len(marks) - 1) // 2]
    found = {
        "step_s": step,
        "bare_passes_s": seconds(lambda: bare(network, batches[-1])),
        "cases_prepared_per_s": cases / prepared,
        "loader_wait_share": trainer.state.metrics["loader_wait"],
    }
    return found | {"step_of_bare": found["step_s"] / found["bare_passes_s"]}, made


def inference(made: ConfigWorkflow) -> dict[str, float]:
    """Voxels per second of the bundle's inferer and of the plain function, on its first validation case."""
    network = made.parser.get_parsed_content("network").eval()
    inferer = made.parser.get_parsed_content("validate#inferer")
    image = made.parser.get_parsed_content("validate#dataset")[0]["image"][None].to(next(network.parameters()).device)
    roi = made.parser.get_parsed_content("roi_size")
    overlap = made.parser.get_parsed_content("window_overlap")
    with torch.inference_mode():
        ours = seconds(lambda: inferer(image, network), 3)
        plain = seconds(lambda: sliding_window_inference(image, roi, 4, network, overlap, mode="gaussian"), 3)
    voxels = image[0, 0].numel()
    return {"voxels_per_s": voxels / ours, "plain_voxels_per_s": voxels / plain, "of_plain": plain / ours}


def main(bundle: str = "pancreas", steps: int = 12, output: str | None = None, **overrides: Any) -> None:
    """Measure everything; print a table and, with `output`, write it as JSON.

    Args:
        bundle: name of a downstream bundle.
        steps: training steps timed.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir``.
    """
    install_excepthook()
    reuse_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        cold, made = training(bundle, folder, steps, **overrides)
        warm, _ = training(bundle, folder, 2, **overrides)
        figures = {
            "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
            "training": cold,
            "cached": {"cases_prepared_per_s": warm["cases_prepared_per_s"]},
        }
        if made.parser.get("window_overlap") is not None:
            figures["inference"] = inference(made)
    report(figures, output)


if __name__ == "__main__":
    fire.Fire(main)
