"""Weak scaling over processes: ``python -m tools.benchmarks.scaling [--bundle cpc3d] [--processes 2]``.

Samples/s per process of one process, of several independent ones, and of several that train together. The second shows
what the machine gives when memory and caches are shared; the loss of the third against it is the cost of communication.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import fire
import torch

from tools.benchmarks.runs import chosen_bundles, command, finish, report, start
from tools.utils.errors import install_excepthook


def rate(folder: str | Path) -> float:
    """Samples/s of all ranks in the last epoch of the run in `folder`."""
    with Path(folder, "output/metrics.csv").open(encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["samples_per_second"])


def independent(bundle: str, folder: str, count: int, threads: int, **settings: Any) -> list[float]:
    """Samples/s of each of several processes that run at the same time, each on its own GPU if there are any."""
    folders = [f"{folder}/{count}_{rank}" for rank in range(count)]
    gpus = [{"CUDA_VISIBLE_DEVICES": rank} if torch.cuda.is_available() else {} for rank in range(count)]
    runs = [
        start(command(bundle, own, **settings), OMP_NUM_THREADS=threads, **gpu)
        for own, gpu in zip(folders, gpus, strict=True)
    ]
    for run in runs:
        finish(run)
    return [rate(own) for own in folders]


def together(bundle: str, folder: str, count: int, threads: int, **settings: Any) -> float:
    """Samples/s of all processes of one run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    run = command(bundle, f"{folder}/together", ("train", "multi_gpu_train"), **settings)
    finish(start([*launcher, *run], OMP_NUM_THREADS=threads))
    return rate(f"{folder}/together")


def main(
    bundle: str = "cpc3d",
    processes: int = 2,
    steps: int = 10,
    threads: int = 1,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print samples/s per process and their ratios.

    Args:
        bundle: bundle name.
        processes: number of processes, each with its own GPU if there are any.
        steps: training steps timed, after one epoch of the same length to warm up.
        threads: CPU threads of each process.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir`` or ``batch_size``.
    """
    install_excepthook()
    (name,) = chosen_bundles(bundle)
    settings = {"epochs": 2, "steps_per_epoch": steps, "val_interval": 2, "lr_warmup_epochs": 0, **overrides}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"cache": "disk", "cache_dir": f"{folder}/cache", **settings}
        (one,) = independent(name, folder, 1, threads, **settings)
        apart = sum(independent(name, folder, processes, threads, **settings)) / processes
        joint = together(name, folder, processes, threads, **settings) / processes
    rates = {"one_per_s": one, "independent_per_s": apart, "together_per_s": joint}
    ratios = {"machine": apart / one, "weak_scaling": joint / one, "communication": joint / apart}
    report([{"bundle": name, "processes": processes, **rates, **ratios}], output)


if __name__ == "__main__":
    fire.Fire(main)
