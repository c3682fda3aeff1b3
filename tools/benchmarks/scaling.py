"""Benchmark of weak scaling over processes: ``python -m tools.benchmarks.scaling [--bundle cpc3d] [--processes 2]``.

Measures samples/s per process of one process, of several independent processes, and of one distributed run. Independent
processes measure the effect of shared memory and caches; the additional loss of the distributed run is communication.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import fire
import torch

from tools.benchmarks.runs import bundle_command, print_table, select_bundles, start_process, wait_for
from tools.utils.excepthook import install_excepthook


def samples_per_second(folder: str | Path) -> float:
    """Read the samples/s of all ranks in the last epoch of the run in `folder`."""
    with Path(folder, "output/metrics.csv").open(encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["samples_per_second"])


def independent_rates(bundle: str, folder: str, count: int, threads: int, **settings: Any) -> list[float]:
    """Measure the samples/s of several concurrent independent processes, each on a separate GPU if available."""
    folders = [f"{folder}/{count}_{rank}" for rank in range(count)]
    gpus = [{"CUDA_VISIBLE_DEVICES": rank} if torch.cuda.is_available() else {} for rank in range(count)]
    runs = [
        start_process(bundle_command(bundle, own, **settings), OMP_NUM_THREADS=threads, **gpu)
        for own, gpu in zip(folders, gpus, strict=True)
    ]
    for run in runs:
        wait_for(run)
    return [samples_per_second(own) for own in folders]


def joint_rate(bundle: str, folder: str, count: int, threads: int, **settings: Any) -> float:
    """Measure the samples/s of all processes of a distributed run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    run = bundle_command(bundle, f"{folder}/together", ("train", "multi_gpu_train"), **settings)
    wait_for(start_process([*launcher, *run], OMP_NUM_THREADS=threads))
    return samples_per_second(f"{folder}/together")


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
        processes: number of processes, each on a separate GPU if available.
        steps: timed training steps, after one warm-up epoch of the same length.
        threads: CPU threads of each process.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir`` or ``batch_size``.
    """
    install_excepthook()
    (name,) = select_bundles(bundle)
    settings = {"epochs": 2, "steps_per_epoch": steps, "val_interval": 2, "lr_warmup_epochs": 0, **overrides}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"cache": "disk", "cache_dir": f"{folder}/cache", **settings}
        (one,) = independent_rates(name, folder, 1, threads, **settings)
        apart = sum(independent_rates(name, folder, processes, threads, **settings)) / processes
        joint = joint_rate(name, folder, processes, threads, **settings) / processes
    rates = {"one_per_s": one, "independent_per_s": apart, "together_per_s": joint}
    ratios = {"machine": apart / one, "weak_scaling": joint / one, "communication": joint / apart}
    print_table([{"bundle": name, "processes": processes, **rates, **ratios}], output)


if __name__ == "__main__":
    fire.Fire(main)
