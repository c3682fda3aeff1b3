"""Runs in processes of their own, a few at a time: started, watched, and told how they ended."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tools.study.cell import run_order
from tools.utils.errors import InputError, find_input_error
from tools.utils.files import write_json

SPARE_BYTES = 32 * 2**20  # with less room on the disk nothing more is begun


@dataclass
class Job:
    """A run to be made.

    Attributes:
        title: as messages call it.
        folder: where its order, its log and whatever it makes go.
        order: what `target` is called with.
        target: what is run.
    """

    title: str
    folder: Path
    order: dict[str, Any]
    target: Callable[[dict[str, Any]], None] = run_order


@dataclass
class Ending:
    """How a run ended: seconds it took, and what went wrong, if anything did."""

    seconds: float
    error: str | None = None


@dataclass
class _Running:
    job: Job
    slot: int
    process: BaseProcess
    begin: float = field(default_factory=time.perf_counter)

    def ending(self) -> Ending:
        self.process.join()
        code, log = self.process.exitcode, self.job.folder / "log.txt"
        error = None if code == 0 else f"{last_line(log)} (exit code {code})"
        return Ending(time.perf_counter() - self.begin, error)


def last_line(log: Path) -> str:
    """The last line of a log, which is the error of a run that failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("error: ") if lines else "ended without a word"


def run_jobs(jobs: Sequence[Job], workers: int, done: Callable[[Job, Ending], None], desc: str) -> None:
    """Run jobs in the order given, `workers` at a time; one that fails leaves the others alone.

    Processes are forked from one that has loaded the libraries and nothing else (where the system can). Each gets its
    share of the cores, or the GPUs in turn. Ended itself, however, this process ends them all.

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
                slot = min(set(range(workers)) - {one.slot for one in running})
                running.append(_start(waiting.pop(0), slot, workers))
                bar.set_postfix_str("; ".join(one.job.title for one in running))
            wait([one.process.sentinel for one in running])
            for one in [one for one in running if not one.process.is_alive()]:
                running.remove(one)
                done(one.job, one.ending())
                bar.update()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _full_disk(jobs[0].folder) from error
    finally:
        bar.close()
        for one in running:
            one.process.kill()
            one.process.join()


def _start(job: Job, slot: int, workers: int) -> _Running:
    if job.folder.exists() and not (job.folder / "order.json").exists():
        raise InputError(f"{job.folder}: expected no folder, or what an earlier study left, found other files")
    shutil.rmtree(job.folder, ignore_errors=True)
    write_json(job.folder / "order.json", job.order)
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([run_order.__module__])
    process = context.Process(target=_enter, args=(job, slot, workers))
    process.start()
    return _Running(job, slot, process)


def _enter(job: Job, slot: int, workers: int) -> None:
    """What a run's process does: write to its log, do the job, and end with one line if the input is bad."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.argv = sys.argv[:1]  # the study's command line is not the run's
    with (job.folder / "log.txt").open("wb") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
            stream.reconfigure(encoding="utf-8", line_buffering=True)  # as the log is read
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if workers > 1 and torch.cuda.device_count() > 1:
        torch.cuda.set_device(slot % torch.cuda.device_count())
    try:
        job.target(job.order)
    except Exception as error:
        found = find_input_error(error)
        print(f"error: {found}", file=sys.stderr) if found else traceback.print_exc()
        sys.exit(1)


def _follow_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _refuse_full_disk(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free < SPARE_BYTES:
        raise _full_disk(folder)


def _full_disk(folder: Path) -> InputError:
    free = shutil.disk_usage(folder.parent).free
    return InputError(
        f"study_dir {folder.parent}: expected {SPARE_BYTES >> 20} MB of free disk to go on, found {free >> 20}; make "
        "room and run the same command again: finished runs are kept"
    )
