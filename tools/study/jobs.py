"""Job queue that runs functions in separate processes, several at a time."""

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

from tools.study.workflows import run_workflows
from tools.utils.errors import InputError, find_input_error
from tools.utils.files import write_json

SPARE_BYTES = 32 * 2**20  # minimum free disk space to start a job


@dataclass
class Job:
    """Job of the queue.

    Attributes:
        title: name in messages.
        folder: folder of the job's specification, log and outputs.
        spec: argument of `target`.
        target: function to run.
    """

    title: str
    folder: Path
    spec: dict[str, Any]
    target: Callable[[dict[str, Any]], None] = run_workflows


@dataclass
class JobResult:
    """Duration of a job in seconds, and its error message, if any."""

    seconds: float
    error: str | None = None


@dataclass
class _Running:
    job: Job
    slot: int
    process: BaseProcess
    begin: float = field(default_factory=time.perf_counter)

    def result(self) -> JobResult:
        self.process.join()
        code, log = self.process.exitcode, self.job.folder / "log.txt"
        error = None if code == 0 else f"{last_line(log)} (exit code {code})"
        return JobResult(time.perf_counter() - self.begin, error)


def last_line(log: Path) -> str:
    """Return the last line of a log, the error message of a failed job."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("error: ") if lines else "ended without a message"


def run_jobs(jobs: Sequence[Job], workers: int, on_finish: Callable[[Job, JobResult], None], desc: str) -> None:
    """Run jobs in the given order, `workers` at a time; a failed job does not affect other jobs.

    Where supported, processes are forked from a server that has only imported the libraries. CPU cores are divided
    between the workers, and GPUs are assigned in turn. All processes end with this one.

    Args:
        jobs: jobs to run.
        workers: number of simultaneous jobs.
        on_finish: function called after each job.
        desc: description of the progress bar.

    Raises:
        InputError: if the disk is full.
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
                on_finish(one.job, one.result())
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
        raise InputError(f"{job.folder}: expected no folder, or one of an earlier study, found other files")
    shutil.rmtree(job.folder, ignore_errors=True)
    write_json(job.folder / "order.json", job.spec)
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([run_workflows.__module__])
    process = context.Process(target=_enter, args=(job, slot, workers))
    process.start()
    return _Running(job, slot, process)


def _enter(job: Job, slot: int, workers: int) -> None:
    """Run a job in its process: redirect output to the log and print an `InputError` in one line."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.argv = sys.argv[:1]  # the study's command line is not the run's
    with (job.folder / "log.txt").open("wb") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
            stream.reconfigure(encoding="utf-8", line_buffering=True)  # encoding of `last_line`
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if workers > 1 and torch.cuda.device_count() > 1:
        torch.cuda.set_device(slot % torch.cuda.device_count())
    try:
        job.target(job.spec)
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
        f"study_dir {folder.parent}: expected {SPARE_BYTES >> 20} MB of free disk space, found {free >> 20}; free disk "
        "space and run the same command again, which continues the study"
    )
