"""Speed of contrastive predictive coding: ``python -m tools.benchmarks.cpc [--output figures.json]``.

Encoding every cell once against the reference's way (Taleb et al. 2020: twelve patches for each of 32 samples of a
volume, 384 encodings of 64 cells), the making of a batch against a plain copy, and a default run's loader wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from tools.benchmarks.report import report
from tools.errors import install_excepthook
from tools.memory import reuse_freed_memory
from tools.networks import build_encoder
from tools.pretext import CPC
from tools.pretext.grid import cut_patches

SAMPLES, PATCHES_PER_SAMPLE = 32, 12


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median wall time of `work`, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times)[repeats // 2]


def encode_once(encoder_name: str = "unet", repeats: int = 3) -> dict[str, float]:
    """Generation and encoding, forward and backward, of one 128³ volume of 64 cells of 32³, both ways."""
    task = CPC((128,) * 3, 4, negatives_other_volumes=0)
    encoder = build_encoder(encoder_name)
    image = torch.randn(1, 1, 128, 128, 128)
    params = task.draw(1, 1)
    gathered = params["corners"].repeat(1, SAMPLES * PATCHES_PER_SAMPLE // 64, 1)
    passes: list[int] = []
    encoder.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))

    def once() -> None:
        encoder(task.apply(image, params)[0].flatten(0, 3)).mean().backward()

    def gather_then_encode() -> None:
        encoder(cut_patches(image, gathered, (32, 32, 32)).flatten(0, 1)).mean().backward()

    times = {"encode_once_s": seconds(once, repeats), "gather_then_encode_s": seconds(gather_then_encode, repeats)}
    return times | {
        "encodings_ratio": max(passes) / min(passes),
        "time_ratio": times["gather_then_encode_s"] / times["encode_once_s"],
    }


def generation(batch_size: int = 4, roi: int = 64) -> dict[str, float]:
    """Making a batch (parameters, patches, targets) against copying its images."""
    task = CPC((roi,) * 3, 4)
    images = torch.randn(batch_size, 1, roi, roi, roi)
    made = seconds(lambda: task.apply(images, task.draw(batch_size, 1)), 20)
    copied = seconds(images.clone, 20)
    return {"generation_ms": 1e3 * made, "copy_ms": 1e3 * copied, "share_of_copy_bandwidth": copied / made}


def default_run(epochs: int = 3, **overrides: Any) -> dict[str, float]:
    """Loader wait of a run of the bundle."""
    root = Path(__file__).parents[2] / "bundles" / "cpc3d"
    workflow = ConfigWorkflow(
        str(root / "configs/train.json"),
        logging_file=False,
        workflow_type="train",
        bundle_root=str(root),
        epochs=epochs,
        models_dir=str(root / "output/benchmark"),
        output_dir=str(root / "output/benchmark"),
        **overrides,
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    waits: list[float] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: waits.append(trainer.state.metrics["loader_wait"]))
    workflow.run()
    return {"loader_wait_share": sum(waits) / len(waits)}


def main(output: str | None = None, encoder: str = "unet", **overrides: Any) -> None:
    """Measure everything; print a table and, with `output`, write it as JSON.

    Args:
        output: JSON file.
        encoder: encoder of the first comparison.
        overrides: keys of the bundle for the run, such as ``dataset_dir``.
    """
    install_excepthook()
    reuse_freed_memory()
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "python": sys.version.split()[0]}
    figures: dict[str, dict[str, Any]] = {"machine": machine}
    figures["default run"] = default_run(**overrides)
    figures |= {"encode once": encode_once(encoder), "generation": generation()}
    report(figures, output)


if __name__ == "__main__":
    fire.Fire(main)
