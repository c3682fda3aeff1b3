"""Speed of pretraining on photographs: ``python -m tools.benchmarks.lifting``.

Pictures read, cut and scaled per second against plain Pillow, side by side in one run; of its training step see `step`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from PIL import Image

from tools.benchmarks.report import report
from tools.data.loader import build_stream
from tools.pretext.vdt.photographs import LoadColourd, RandCutd, sample_cut
from tools.utils.errors import install_excepthook

SIZE = (500, 375)  # width and height of many of ImageNet's pictures
PICTURES = 64


def write_pictures(folder: Path) -> list[dict[str, Any]]:
    """JPEG files of smooth noise, and their cases."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        path = folder / f"{number}.jpeg"
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
        cases.append({"case": str(number), "image": str(path), "label": number % 2})
    return cases


def plain(path: str, rng: np.random.RandomState, edge: int) -> np.ndarray:
    """Decode, cut and scale with Pillow alone, as torchvision's RandomResizedCrop does."""
    with Image.open(path) as picture:
        colour = picture.convert("RGB")
    (row, column), (rows, columns), flip = sample_cut(colour.size[::-1], (0.08, 1.0), 4 / 3, 0.5, rng)
    piece = colour.crop((column, row, column + columns, row + rows)).resize((edge, edge), Image.Resampling.BILINEAR)
    return np.array(piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else piece)


def reading(edge: int) -> dict[str, float]:
    """Pictures per second of our loader's dataset and of Pillow, one thread each, whichever comes first in turn."""
    with tempfile.TemporaryDirectory() as folder:
        cases = write_pictures(Path(folder))
        draws = build_stream(cases, LoadColourd(), RandCutd(size=(edge, edge)), seed=0)
        rng = np.random.RandomState(0)
        ways: dict[str, Callable[[int], Any]] = {
            "ours": lambda index: draws[index, index]["image"],
            "plain": lambda index: plain(cases[index]["image"], rng, edge),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(5):
            for name, read in ways.items():
                begin = time.perf_counter()
                for index in range(PICTURES):
                    read(index)
                best[name] = min(best[name], time.perf_counter() - begin)
    ours, other = (PICTURES / best[name] for name in ("ours", "plain"))
    return {"pictures_per_s": ours, "plain_pictures_per_s": other, "of_plain": ours / other}


def main(edge: int = 224, output: str | None = None) -> None:
    """Measure everything; print a table and, with `output`, write it as JSON.

    Args:
        edge: edge of the pictures in pixels.
        output: JSON file.
    """
    install_excepthook()
    figures: dict[str, dict[str, Any]] = {
        "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        "reading": reading(edge),
    }
    report(figures, output)


if __name__ == "__main__":
    fire.Fire(main)
