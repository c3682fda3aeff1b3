"""Weak scaling: ``python -m tools.benchmarks.scaling [--bundle bundles/cpc3d] [--output figures.json]``.

Samples/s of one process, of several that know nothing of each other, and of several that train together, each with the
same batch, in one run. The second is what the machine itself gives (memory, caches, cores that are threads of one);
what the third loses against it is the price of communication. Every byte that a process hands to a collective operation
is counted on the way.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import fire
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from tools.benchmarks.report import report
from tools.benchmarks.runs import now, workflow
from tools.utils.errors import install_excepthook

WARM_UP = 2  # steps before the clock and the count start


class Traffic:
    """Bytes that this process hands to collective operations, by kind; it watches for the rest of the process."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        for name, given in {"all_reduce": 0, "all_gather": 1, "reduce_scatter": 1, "broadcast": 0}.items():
            setattr(dist, name, self._counted(name, getattr(dist, name), given))

    def watch(self, network: DistributedDataParallel) -> None:
        """Count the gradients of a network too, bucket by bucket, as they are sent."""
        network.register_comm_hook(None, allreduce_hook)
        if network.broadcast_buffers:
            network.register_forward_pre_hook(lambda *_: self._add_buffers(network))

    def take(self) -> dict[str, int]:
        """Return what was counted since the last time."""
        taken, self.bytes = dict(self.bytes), Counter()
        return taken

    def _counted(self, name: str, operation: Callable[..., Any], given: int) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            kind = "gradients" if options.get("async_op") else name  # only gradients are sent while others are made
            sent = arguments[given]
            self.bytes[kind] += sum(part.nbytes for part in sent) if isinstance(sent, list) else sent.nbytes
            return operation(*arguments, **options)

        return counted

    def _add_buffers(self, network: DistributedDataParallel) -> None:
        if network.training:
            self.bytes["buffers"] += sum(buffer.nbytes for buffer in network.module.buffers())


def build(bundle: Path, rank: int, together: bool, folder: Path, steps: int, **overrides: Any) -> ConfigWorkflow:
    """A run of one epoch, on this process alone or together with the others."""
    names = ["train", "multi_gpu_train"] if together else ["train"]
    device = {} if together or not torch.cuda.is_available() else {"device": f"$torch.device('cuda', {rank})"}
    return workflow(bundle, folder, steps + WARM_UP, names, cache="disk", **device, **overrides)


def train(made: ConfigWorkflow, start: Callable[[], Any]) -> dict[str, Any]:
    """Seconds per step of a run, and its traffic in a step and outside of steps."""
    traffic, marks, steps = Traffic(), [], Counter()
    trainer = made.parser.get_parsed_content("train#trainer")
    network = made.parser.get_parsed_content("network")
    if isinstance(network, DistributedDataParallel):
        traffic.watch(network)
    start()

    def note(engine: Engine) -> None:
        marks.append(now(engine.state.device))
        steps.update(traffic.take() if len(marks) > WARM_UP else dict.fromkeys(traffic.take(), 0))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    made.run()
    timed = [b - a for a, b in pairwise(marks[WARM_UP - 1 :])]
    step = {kind: count // len(timed) for kind, count in steps.items()}
    return {"step_s": sum(timed) / len(timed), "bytes_per_step": step, "bytes_besides": traffic.take()}


def work(rank: int, size: int, together: bool, port: int, barrier: Any, threads: int, options: dict[str, Any]) -> None:
    """What one process does; it leaves its figures in the folder of the measurement."""
    torch.set_num_threads(threads)
    folder = Path(options["folder"])
    if together:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
        os.environ.update({key: str(value) for key, value in (place | numbers).items()})
    own = folder if together else folder / str(rank)
    made = build(**{**options, "folder": own, "rank": rank, "together": together})
    figures = train(made, barrier.wait)
    made.finalize()
    (folder / f"{rank}.json").write_text(json.dumps(figures), encoding="utf-8")


def measure(size: int, together: bool, threads: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Figures of each of `size` processes that run at the same time."""
    method = "spawn" if torch.cuda.is_available() else "fork"  # a fork starts at once; CUDA does not survive it
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=300))
    barrier = mp.get_context(method).Barrier(size)
    with tempfile.TemporaryDirectory(dir=options["folder"]) as folder:
        own = {**options, "folder": folder}
        mp.start_processes(work, (size, together, store.port, barrier, threads, own), size, start_method=method)
        return [json.loads((Path(folder) / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(size)]


def compare(batch_size: int, one: list[Any], apart: list[Any], together: list[Any]) -> dict[str, dict[str, Any]]:
    """Rates per process, what they are of each other, and traffic in kB per process, in a step and besides."""
    rates = [batch_size * sum(1 / figures["step_s"] for figures in part) / len(part) for part in (one, apart, together)]
    speed = dict(zip(("one", "apart", "together"), rates, strict=True))
    traffic = {
        f"{kind}_kb_{when}": count / 1e3
        for when in ("per_step", "besides")
        for kind, count in together[0][f"bytes_{when}"].items()
        if count
    }
    return {
        "samples/s": {f"{name}_per_process": rate for name, rate in speed.items()},
        "efficiency": {
            "machine": speed["apart"] / speed["one"],
            "weak_scaling": speed["together"] / speed["one"],
            "communication": speed["together"] / speed["apart"],
        },
        "traffic": traffic,
    }


def main(
    bundle: str = "bundles/cpc3d",
    processes: int = 2,
    steps: int = 10,
    threads: int = 1,
    batch_size: int = 2,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Measure all three; print a table and, with `output`, write it as JSON.

    Args:
        bundle: folder of a bundle.
        processes: how many, each with a device of its own where there is CUDA.
        steps: training steps timed.
        threads: of each process.
        batch_size: samples per step and process.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir``.
    """
    install_excepthook()
    root = Path(bundle).resolve()
    machine = {"torch": torch.__version__, "cpus": os.cpu_count(), "threads": threads, "processes": processes}
    with tempfile.TemporaryDirectory() as folder:
        options = {"bundle": root, "folder": folder, "steps": steps, "batch_size": batch_size}
        options |= {"cache_dir": f"{folder}/cache", **overrides}
        plan = [(1, False), (processes, False), (processes, True)]
        runs = [measure(size, together, threads, options) for size, together in plan]
    report({"machine": machine | {"batch_size": batch_size}, **compare(batch_size, *runs)}, output)


if __name__ == "__main__":
    fire.Fire(main)
