"""Process group start and end, and a watchdog that reports frozen processes.

If a process is frozen (stopped, swapped out, or on a machine that hangs), the others wait in the next collective
operation and print nothing. A thread of every process therefore increments a counter in the store of the process group
and monitors the counter of the next rank. During long preparation the thread continues to count.

A main thread may also hang while its process continues to count, for example while it reads from a file system that
does not answer. The thread therefore publishes how far the training loop is, see `advance`. A rank is reported if it
stays behind the previous rank for nearly as long as a collective operation may take.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist

from tools.utils import distributed

#: longest wait of a collective operation in training, where all processes do the same
TRAINING = timedelta(minutes=30)
#: fraction of this time after which a rank whose training loop stays behind is reported
BEHIND = 0.9


class Store(Protocol):
    """The part of `torch.distributed.Store` that the watchdog uses."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys have a value."""

    def get(self, key: str) -> bytes:
        """Return a value."""


class RankWatchdog:
    """Watchdog that publishes the counters of this rank in a store, and monitors the counters of the next rank.

    Args:
        store: store that all ranks share.
        rank: rank of this process.
        world_size: number of processes.
        timeout: seconds without a new count after which a rank counts as silent.
        clock: time in seconds.
        phases: returns the number of calls of `advance` in this process.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        world_size: int,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        phases: Callable[[], int] = lambda: _phases[0],
    ) -> None:
        self.store, self.clock, self.timeout, self.phases = store, clock, timeout, phases
        self.own, self.watched = f"alive/{rank}", (rank + 1) % world_size
        self.count = 0
        self.last: tuple[str, int] = ("", 0)
        self.alive_at = self.level_at = clock()

    def beat(self) -> str | None:
        """Publish the counters; returns why the next rank counts as frozen, or None."""
        self.count += 1
        phases, now = self.phases(), self.clock()
        self.store.set(self.own, f"{self.count} {phases}")
        found = self._read()
        if found[0] != self.last[0] or found[0] == "ended":
            self.alive_at = now
        if found[1] != self.last[1] or found[1] >= phases or found[0] == "ended":
            self.level_at = now
        self.last = found
        if now - self.alive_at > self.timeout:
            return (
                f"rank {self.watched} has given no sign of life for {self.timeout:.0f} seconds (its process is "
                "stopped, or its machine or network hangs)"
            )
        limit = BEHIND * TRAINING.total_seconds()
        if now - self.level_at > limit:
            return (
                f"rank {self.watched} has not continued training for {limit:.0f} seconds while others wait for it (its "
                "main thread hangs, for example while it reads or writes a file)"
            )
        return None

    def _read(self) -> tuple[str, int]:
        """Return the counters of the next rank."""
        key = f"alive/{self.watched}"
        count, _, phases = (self.store.get(key) if self.store.check([key]) else b"").decode().partition(" ")
        return count, int(phases or 0)

    def end(self) -> None:
        """Record that this rank has finished without an error."""
        self.store.set(self.own, "ended")


_stop: list[Callable[[], None]] = []
_phases = [0]


def advance() -> None:
    """Record that the training loop of this process has reached the next phase, such as loading or computing."""
    _phases[0] += 1


def start_processes(device: torch.device, rank_timeout: float = 120.0) -> None:
    """Initialise the process group with NCCL on CUDA devices and gloo otherwise, and watch the other processes.

    Args:
        device: device of this process.
        rank_timeout: seconds after which a process that gives no sign of life ends the run.
    """
    on_gpu = torch.device(device).type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=distributed.PREPARATION)
    if on_gpu:
        torch.cuda.set_device(device)
    store = distributed.connect_store()
    if store is not None and distributed.world_size() > 1:
        stop = threading.Event()
        watchdog = RankWatchdog(store, distributed.rank(), distributed.world_size(), rank_timeout)
        thread = threading.Thread(target=_watch, args=(watchdog, stop), daemon=True)
        thread.start()
        _stop.append(lambda: (stop.set(), thread.join()))


def end_processes() -> None:
    """Wait for all processes, and destroy the process group."""
    dist.barrier()
    while _stop:
        _stop.pop()()
    dist.destroy_process_group()


def limit_collectives() -> None:
    """Shorten the longest wait of collective operations, once the data is prepared."""
    if distributed.is_distributed():
        dist.distributed_c10d._set_pg_timeout(TRAINING, dist.group.WORLD)


def _watch(watchdog: RankWatchdog, stop: threading.Event) -> None:
    try:
        while not stop.wait(watchdog.timeout / 8):
            reason = watchdog.beat()
            if reason is not None:
                _end_run(reason)
        watchdog.end()
    except RuntimeError:  # the store has ended, and with it the run
        return


def _end_run(reason: str) -> None:
    """End this process, since the main thread waits for the unresponsive rank; torchrun then ends all others."""
    if distributed.is_first("error"):
        remedy = "the same command with --resume True continues after the last epoch"
        print(f"\nerror: {reason}; {remedy}", file=sys.stderr, flush=True)
    os._exit(1)
