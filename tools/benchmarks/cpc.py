"""Encoding every cell once: ``python -m tools.benchmarks.cpc [--output figures.json]``.

Against the way of the public code (Taleb et al. 2020): twelve patches for each of 32 samples of a volume, 384
encodings of 64 cells.
"""

from __future__ import annotations

import fire
import torch

from tools.benchmarks.report import report
from tools.benchmarks.runs import seconds
from tools.networks.encoders import build_encoder
from tools.pretext.cpc.task import CPC
from tools.pretext.patch_grid import cut_patches
from tools.utils.errors import install_excepthook
from tools.utils.memory import tune_malloc

SAMPLES, PATCHES_PER_SAMPLE = 32, 12


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


def main(output: str | None = None, encoder: str = "unet") -> None:
    """Measure both ways; print a table and, with `output`, write it as JSON.

    Args:
        output: JSON file.
        encoder: encoder of the comparison.
    """
    install_excepthook()
    tune_malloc()
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    report({"machine": machine, "encode once": encode_once(encoder)}, output)


if __name__ == "__main__":
    fire.Fire(main)
