"""Speed of the downstream bundles: ``python -m tools.benchmarks.downstream [--bundle pancreas]``.

Preparing data against finding it cached, the wait for data, and, in 3D, sliding-window inference against MONAI's plain
function, side by side in one run; of a training step, see `step`.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import fire
import torch
from monai.bundle import ConfigWorkflow
from monai.inferers import sliding_window_inference

from tools.benchmarks.report import report
from tools.benchmarks.runs import seconds, workflow
from tools.utils.errors import install_excepthook
from tools.utils.memory import tune_malloc


def reading(bundle: str, folder: str, steps: int, **overrides: Any) -> tuple[dict[str, float], ConfigWorkflow]:
    """Cases prepared per second, and the wait for data, of a run."""
    made = workflow(bundle, folder, steps, **{"cache": "disk", **overrides})
    begin = time.perf_counter()
    trainer = made.parser.get_parsed_content("train#trainer")
    prepared = time.perf_counter() - begin
    cases = sum(len(made.parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate"))
    made.run()
    return {"cases_prepared_per_s": cases / prepared, "loader_wait_share": trainer.state.metrics["loader_wait"]}, made


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
        steps: training steps.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir``.
    """
    install_excepthook()
    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        cold, made = reading(bundle, folder, steps, **overrides)
        warm, _ = reading(bundle, folder, 2, **overrides)
        figures = {
            "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
            "reading": cold,
            "cached": {"cases_prepared_per_s": warm["cases_prepared_per_s"]},
        }
        if made.parser.get("window_overlap") is not None:
            figures["inference"] = inference(made)
    report(figures, output)


if __name__ == "__main__":
    fire.Fire(main)
