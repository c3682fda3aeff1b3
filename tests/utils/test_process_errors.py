"""Errors of several processes: only the first prints its reason, in one line."""

import os
import signal
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.utils import distributed
from tools.utils.errors import InputError, find_error, is_lost_connection
from tools.utils.excepthook import install_excepthook


def work(rank, port, folder, refuse, killed):
    """Exchange something for ever, with the environment of torchrun; ranks in `refuse` find their settings wrong."""
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in place.items()})
    sys.stderr = open(f"{folder}/{rank}.txt", "w")  # noqa: SIM115
    install_excepthook()
    dist.init_process_group("gloo", rank=rank, world_size=2)
    dist.barrier()
    try:
        if rank in refuse:
            raise InputError("seed: expected another")
        if rank in killed:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            dist.all_reduce(torch.zeros(1))
    except (InputError, RuntimeError):
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)


def lines(folder, refuse=(), killed=()):
    """Lines on standard error of two processes that end."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    process = mp.get_context(START).Process
    both = [process(target=work, args=(rank, store.port, folder, refuse, killed), daemon=True) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert all(one.exitcode for one in both)
    text = "".join((folder / f"{rank}.txt").read_text() for rank in (0, 1))
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("refuse", [(0,), (1,), (0, 1)])
def test_bad_input_is_the_only_cause_that_is_printed(tmp_path, refuse):
    (line,) = lines(tmp_path, refuse)
    assert line.endswith("error: seed: expected another")  # torch may print the rank before


def test_the_survivor_of_a_killed_process_prints_one_line(tmp_path):
    (line,) = lines(tmp_path, killed=(1,))
    assert "error: another process" in line


def test_only_lost_connections_are_taken_for_such():
    lost = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection reset by peer")
    wrapped = RuntimeError("Failed to evaluate")
    wrapped.__cause__ = lost
    assert find_error(wrapped, is_lost_connection) is lost
    assert is_lost_connection(dist.DistBackendError("NCCL communicator was aborted"))
    assert find_error(RuntimeError("out of memory"), is_lost_connection) is None
    assert not is_lost_connection(ValueError("gloo/transport"))


def test_without_the_store_every_process_is_the_first(monkeypatch):
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert distributed.is_first("error")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")  # no process listens on this port
    assert distributed.is_first("error")
