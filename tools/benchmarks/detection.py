"""Speed of the detection bundle: ``python -m tools.benchmarks.detection``.

Building stacks from files and finding them cached; inference per stack, split into encoder, pyramid and heads, decoding
and suppression; suppression against MONAI's: all in one run. Of its training step, see `step`.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import fire
import torch
from monai.bundle import ConfigWorkflow
from monai.data.box_utils import non_max_suppression

from tools.benchmarks.report import report
from tools.benchmarks.runs import seconds, workflow
from tools.data.cache.dataset import CachedDataset
from tools.detection.nms import nms
from tools.utils.errors import install_excepthook
from tools.utils.memory import tune_malloc


def reading(made: ConfigWorkflow, folder: str) -> dict[str, float]:
    """Stacks per second prepared from PNG files, and found in the disk cache."""
    content = made.parser.get_parsed_content
    cases, preprocessing = content("split")["training"], content("preprocessing")

    def all_of_it() -> float:
        begin = time.perf_counter()
        dataset = CachedDataset(cases, preprocessing, "disk", f"{folder}/stacks")
        for index in range(len(dataset)):
            dataset[index]["image"].sum()  # mapped: touch every page
        return len(cases) / (time.perf_counter() - begin)

    cold, cached = all_of_it(), all_of_it()
    return {"cold_stacks_per_s": cold, "cached_stacks_per_s": cached, "cached_of_cold": cached / cold}


def inference(made: ConfigWorkflow) -> dict[str, float]:
    """Milliseconds per stack of the parts of inference."""
    content = made.parser.get_parsed_content
    network, detector = content("network").eval(), content("detector")
    stacks = content("validate#dataset")[0]["image"][None].to(next(network.parameters()).device)
    boxes, scores = _candidates(detector, stacks.shape[-1])
    with torch.inference_mode():
        maps = network(stacks)
        spent = {
            "encoder": seconds(lambda: network.encoder.features(stacks)),
            "encoder_and_pyramid": seconds(lambda: network.feature_extractor(stacks)),
            "network": seconds(lambda: network(stacks)),
            "detect": seconds(lambda: detector.detect(maps)),
            "suppression": seconds(lambda: nms(boxes, scores, 0.5, 100)),
        }
    parts = {
        "encoder_ms": spent["encoder"],
        "pyramid_and_heads_ms": spent["network"] - spent["encoder"],
        "decoding_ms": spent["detect"] - spent["suppression"],
        "suppression_ms": spent["suppression"],
        "all_ms": spent["network"] + spent["detect"],
    }
    return {name: 1000 * value for name, value in parts.items()}


def _candidates(detector: Any, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As many random boxes as a picture gives suppression."""
    places = [3 * (size // stride) ** 2 for stride in detector.strides]
    return _boxes(sum(min(count, detector.box_selector.topk_candidates_per_level) for count in places), size)


def _boxes(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * (size - 40)
    edges = 8 + 32 * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + edges], 1), torch.rand(count, generator=generator)


def suppression(count: int = 2000) -> dict[str, float]:
    """Seconds for many boxes of a picture of 512 pixels, ours and MONAI's."""
    boxes, scores = _boxes(count, 512)
    ours, theirs = (
        seconds(lambda: nms(boxes, scores, 0.5)),
        seconds(lambda: non_max_suppression(boxes, scores, 0.5)),
    )
    return {"boxes": count, "ours_s": ours, "monai_s": theirs, "times_faster": theirs / ours}


def main(output: str | None = None, **overrides: Any) -> None:
    """Measure everything; print a table and, with `output`, write it as JSON.

    Args:
        output: JSON file.
        overrides: keys of the bundle, such as ``encoder`` or ``dataset_dir``.
    """
    install_excepthook()
    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        made = workflow("deeplesion", folder, steps=1, **overrides)
        figures = {
            "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
            "stacks": reading(made, folder),
            "inference": inference(made),
            "suppression": suppression(),
        }
    report(figures, output)


if __name__ == "__main__":
    fire.Fire(main)
