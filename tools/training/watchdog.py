"""One line when a run on several processes ends before its time: who has gone, and where the run goes on.

Left alone, the survivors of a killed process end in tracebacks from deep inside a collective operation, or in silence.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType

import torch.distributed as dist

from tools.training.run_folder import release_folders
from tools.utils import distributed
from tools.utils.errors import find_error, find_input_error

POLL = 1.0  # seconds between two looks whether another process has called the end
ANSWER = 3.0  # seconds to answer a roll call
STOPS = (signal.SIGTERM, signal.SIGINT)
SAID = "said by rank"  # begins what stands in a cause's place when no other line is needed


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error comes from the communication between processes; gloo raises plain `RuntimeError`."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def describe_end(cause: str, missing: Sequence[int], size: int) -> str:
    """Say in a few words why a run of `size` processes ends; `missing` are the ranks that do not answer."""
    if not missing:
        return cause
    ranks = ", ".join(map(str, missing))
    return f"rank{'s' * (len(missing) > 1)} {ranks} of {size} {'have' if len(missing) > 1 else 'has'} gone"


class Watch(threading.Thread):
    """Ends this process, with one line for all of them, when a signal or the loss of another process ends the run.

    It acts in a thread of its own: the main thread may wait in a collective operation that never returns. Whoever
    learns of the end calls the roll in the store of the process group; the lowest rank that answers says which did not.
    Bad input is said by the first process that finds it, and nothing by the others.

    Args:
        advice: says how the run goes on; called when it ends.
    """

    def __init__(self, advice: Callable[[], str]) -> None:
        super().__init__(daemon=True)
        self.advice = advice
        self.rank, self.size = distributed.rank(), distributed.world_size()
        self.roll = f"end/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        self.once = threading.Lock()
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.store = dist.TCPStore(host, port, is_master=False)
        self.store.set_timeout(timedelta(seconds=ANSWER))  # to connect may take longer, where everybody starts

    def start(self) -> None:
        """Take over signals and uncaught errors; in the main thread."""
        self.signals, sending = os.pipe()
        os.set_blocking(sending, False)
        signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
        for number in STOPS:
            signal.signal(number, lambda *_: None)  # the thread hears of it at once, whatever the main thread does
        os.register_at_fork(after_in_child=_let_go)
        self.hook, sys.excepthook = sys.excepthook, self._excepthook
        super().start()

    def run(self) -> None:
        """Wait for the end."""
        while True:
            heard, _, _ = select.select([self.signals], [], [], POLL)
            stops = [n for n in os.read(self.signals, 64) if n in STOPS] if heard else []
            if stops:
                self.end(f"stopped by {signal.Signals(stops[0]).name}")
            elif self._called():
                self.end("stopped by another process")

    def end(self, cause: str) -> None:
        """Call the roll, let one process say the line, and leave; the first `cause` is said if nobody is missing."""
        self.once.acquire()  # never given back
        try:
            cause = self.store.compare_set(self.roll, "", cause).decode()
            missing = [] if cause.startswith(SAID) else self._missing()
            speaks = not cause.startswith(SAID) and self.rank == min(set(range(self.size)) - {*missing})
        except RuntimeError:  # the store ended with the launcher, or the process, that kept it
            missing, speaks = [0], os.environ.get("LOCAL_RANK", "0") == "0"
        try:
            if speaks:
                said = f"\nerror: {describe_end(cause, missing, self.size)}; {self._advise()}"
                print(said, file=sys.stderr, flush=True)
        finally:
            _leave()  # whatever has failed: nothing else hears of signals any more

    def _advise(self) -> str:
        try:
            return self.advice()
        except Exception as error:  # of a checkpoint that cannot be read
            return str(error)

    def _called(self) -> bool:
        try:
            return self.store.check([self.roll])
        except RuntimeError:
            return False  # its keeper has left; if that was no good end, the next exchange fails

    def _missing(self) -> list[int]:
        keys = [f"{self.roll}/{number}" for number in range(self.size)]
        self.store.set(keys[self.rank], "here")
        patience = time.monotonic() + ANSWER
        while not self.store.check(keys) and time.monotonic() < patience:
            time.sleep(0.02)
        return [number for number, key in enumerate(keys) if not self.store.check([key])]

    def _excepthook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        lost = find_error(error, is_lost_connection)
        if lost is not None:
            self.end(str(lost).strip().splitlines()[0])
        if find_input_error(error) is None:
            self.hook(kind, error, trace)
            return
        self.once.acquire()  # never given back: to end now would be before the line is said
        try:
            if self._is_first():
                self.hook(kind, error, trace)
        finally:
            _leave()

    def _is_first(self) -> bool:
        """Whether no process has called the end before."""
        mine = f"{SAID} {self.rank}"
        try:
            return self.store.compare_set(self.roll, "", mine).decode() == mine
        except RuntimeError:
            return True


_watches: list[Watch] = []  # of this process, one at most


def watch_processes(advice: Callable[[], str] = lambda: "start the command again") -> None:
    """Start the `Watch` of a process that is one of several; a later call changes its advice.

    Args:
        advice: see `Watch`.
    """
    if _watches:
        _watches[0].advice = advice
    elif distributed.is_distributed() and hasattr(os, "fork"):  # Windows has no such signals
        _watches.append(Watch(advice))
        _watches[0].start()


def _leave() -> None:
    """End this process at once, with what it has printed."""
    try:
        release_folders()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _let_go() -> None:
    """A loader's worker takes its signals for itself."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
