"""Runs in processes of their own, a few at a time: started, watched, and told how they ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tools.errors import InputError
from tools.files import write_json

SPARE_BYTES = 32 * 2**20  # with less room on the disk nothing more is begun
PAUSE = 0.1  # seconds between two looks at the running processes


@dataclass
class Job:
    """A run to be made.

    Attributes:
        title: as messages call it.
        folder: where its order, its log and whatever it makes go.
        order: see `tools.study.cell.run_order`.
        command: what is run, with the path of the written order as its argument.
    """

    title: str
    folder: Path
    order: dict[str, Any]
    command: tuple[str, ...] = (sys.executable, "-m", "tools.study.cell")


@dataclass
class Outcome:
    """How a run ended: seconds it took, and what went wrong, if anything did."""

    seconds: float
    error: str | None = None


@dataclass
class _Running:
    job: Job
    slot: int
    process: subprocess.Popen[bytes]
    begin: float = field(default_factory=time.perf_counter)

    def outcome(self) -> Outcome:
        code = self.process.wait()
        error = None if code == 0 else f"{last_line(self.job.folder / 'log.txt')} (exit code {code})"
        return Outcome(time.perf_counter() - self.begin, error)


def last_line(log: Path) -> str:
    """The last line of a log, which is the error of a run that failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("error: ") if lines else "ended without a word"


def run_jobs(jobs: Sequence[Job], workers: int, done: Callable[[Job, Outcome], None], desc: str) -> None:
    """Run jobs in the order given, `workers` at a time; one that fails leaves the others alone.

    Every process gets its share of the cores, or the GPUs in turn. Ended itself, this process ends them all.

    Args:
        jobs: what to run.
        workers: how many at a time.
        done: called after each.
        desc: what the progress bar calls it.

    Raises:
        InputError: the disk is full.
    """
    waiting, running = list(jobs), []
    bar = tqdm(total=len(jobs), desc=desc, unit="run")
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                _refuse_full_disk(waiting[0].folder)
                free = next(iter(set(range(workers)) - {one.slot for one in running}))
                running.append(_start(waiting.pop(0), free, workers))
                bar.set_postfix_str("; ".join(one.job.title for one in running))
            time.sleep(PAUSE)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                done(one.job, one.outcome())
                bar.update()
    finally:
        bar.close()
        _stop(running)


def _start(job: Job, slot: int, workers: int) -> _Running:
    shutil.rmtree(job.folder, ignore_errors=True)  # whatever a killed study left
    order = job.folder / "order.json"
    write_json(order, job.order)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}  # so that an error ends the log
    threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    if workers > 1 and torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
    with (job.folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*job.command, str(order)],
            stdin=subprocess.PIPE,  # closed by the end of this process, whatever ended it
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    return _Running(job, slot, process)


def _stop(running: Iterable[_Running]) -> None:
    for one in running:
        one.process.kill()
        one.process.wait()


def _refuse_full_disk(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < SPARE_BYTES:
        raise InputError(
            f"study_dir {folder.parent}: expected {SPARE_BYTES >> 20} MB of free disk to go on, found {free >> 20}; "
            "make room and run the same command again: finished runs are kept"
        )
