"""Exception hook that prints one line for invalid input, exhausted resources, lost processes and interruptions."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType

from tools.utils import distributed
from tools.utils.errors import escape, find_error, find_input_error, is_lost_connection
from tools.utils.resources import find_shortage


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread, so that locks are released and partial files removed as after Ctrl-C."""


def describe_error(error: BaseException) -> str | None:
    """Return the line that explains an uncaught error; None for an error that needs its traceback."""
    if found := find_input_error(error):
        return str(found)
    if isinstance(error, KeyboardInterrupt):
        cause = "SIGTERM" if isinstance(error, Terminated) else "Ctrl-C"
        return "; ".join([f"the run was interrupted by {cause}", *getattr(error, "__notes__", [])])
    if find_error(error, is_lost_connection) is not None:
        return "another process of this run has ended; its own message or torchrun's report names the cause"
    return find_shortage(error)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = describe_error(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    elif distributed.is_first("error"):
        above = "\n" if distributed.is_distributed() else ""  # rank 0's progress bar
        shown = "\n".join(map(escape, line.split("\n")))  # a list of bad files has a line for each
        print(f"{above}error: {shown}", file=sys.stderr)


def install_excepthook() -> None:
    """Print one line instead of a traceback for uncaught errors with an explanation (exit code 1).

    SIGTERM is handled like Ctrl-C, except in the processes of torchrun, which uses it to end them at once.
    Of several processes, only the first that fails prints its line.
    Characters that the terminal's encoding lacks are escaped from here on, instead of ending the process.
    """
    sys.excepthook = _excepthook
    if _handles_sigterm():
        owner = os.getpid()
        signal.signal(signal.SIGTERM, lambda number, frame: _terminate(owner, frame))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")


def _handles_sigterm() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        and "TORCHELASTIC_RUN_ID" not in os.environ
    )


def _terminate(owner: int, frame: FrameType | None) -> None:
    if os.getpid() == owner:
        raise Terminated
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a worker of a data loader
    os.kill(os.getpid(), signal.SIGTERM)
