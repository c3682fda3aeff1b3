"""A process that goes ends the others at once, and one line tells."""

import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.training import watchdog as ending
from tools.training.checkpoint import Checkpoint
from tools.training.watchdog import Watch, describe_end, is_lost_connection
from tools.utils.errors import InputError, find_error, install_excepthook


def work(rank, port, folder, waits, refuse):
    """Exchange something for ever, or wait for what never comes, with the environment that torchrun gives.

    The ranks in `refuse` find their settings wrong.
    """
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in place.items()})
    sys.stderr = open(f"{folder}/{rank}.txt", "w")  # noqa: SIM115
    sys.stdout = open(f"{folder}/{rank}.out", "w")  # noqa: SIM115
    print("noted")
    ending.POLL, ending.ANSWER = 0.1, 0.5
    install_excepthook()
    dist.init_process_group("gloo", rank=rank, world_size=2)
    Watch(lambda: "continues").start()
    dist.barrier()
    (folder / f"{rank}.ready").touch()
    try:
        if rank in refuse:
            raise InputError("seed: expected another")
        if waits:
            threading.Event().wait()
        while True:
            dist.all_reduce(torch.zeros(1))
    except (InputError, RuntimeError):
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def ended(folder, number=None, waits=False, refuse=()):
    """What two processes said when one got a signal, the seconds until both had ended, and their exit codes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    start = mp.get_context(START).Process
    both = [start(target=work, args=(rank, store.port, folder, waits, refuse), daemon=True) for rank in (0, 1)]
    for process in both:
        process.start()
    while not all((folder / f"{rank}.ready").exists() for rank in (0, 1)):
        if not all(process.is_alive() for process in both):
            assert refuse  # one may have ended the other before it was ready
            break
        time.sleep(0.01)
    begin = time.perf_counter()
    if number is not None:
        os.kill(both[1].pid, number)
    for process in both:
        process.join(30)
    said = "".join((folder / f"{rank}.txt").read_text() for rank in (0, 1))
    return said.strip().splitlines(), time.perf_counter() - begin, [process.exitcode for process in both]


def test_a_killed_process_ends_the_other(tmp_path):
    said, seconds, codes = ended(tmp_path, signal.SIGKILL)
    assert said == ["error: rank 1 of 2 has gone; continues"]
    assert seconds < 10
    assert codes == [1, -signal.SIGKILL]


@pytest.mark.parametrize("waits", [True, False])
def test_a_stopped_process_stops_the_other(tmp_path, waits):
    """Even where both wait outside of any exchange, and see no connection break."""
    said, seconds, codes = ended(tmp_path, signal.SIGTERM, waits)
    assert said == ["error: stopped by SIGTERM; continues"]
    assert seconds < 10
    assert codes == [1, 1]
    assert [(tmp_path / f"{rank}.out").read_text() for rank in (0, 1)] == ["noted\n"] * 2


@pytest.mark.parametrize(("refuse", "waits"), [((0,), False), ((1,), True), ((0, 1), False)])
def test_settings_that_are_refused_are_the_only_cause_that_is_said(tmp_path, refuse, waits):
    said, seconds, codes = ended(tmp_path, waits=waits, refuse=refuse)
    (line,) = said
    assert line.endswith("error: seed: expected another")  # torch says the rank before
    assert seconds < 10
    assert codes == [1, 1]


def fail(*_):
    raise InputError("no advice")


def test_it_leaves_even_where_the_advice_fails(monkeypatch, capsys):
    """Its process no longer hears signals, and would stay for ever."""
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(dist, "TCPStore", lambda *_, **__: dist.HashStore())
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(SystemExit) as left:
        Watch(fail).end("stopped")
    assert left.value.code == 1
    assert capsys.readouterr().err.strip() == "error: stopped; no advice"


class Gone:
    """A store whose keeper has left; what torch then raises is not always one of its own errors."""

    def set_timeout(self, _):
        pass

    def check(self, _):
        raise RuntimeError("Broken pipe")

    def compare_set(self, *_):
        raise RuntimeError("Broken pipe")


def test_it_leaves_where_the_store_has_gone(monkeypatch, capsys):
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(dist, "TCPStore", lambda *_, **__: Gone())
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    watch = Watch(lambda: "continues")
    assert not watch._called()
    with pytest.raises(SystemExit):
        watch.end("stopped")
    assert capsys.readouterr().err.strip() == "error: rank 0 of 1 has gone; continues"


@pytest.mark.parametrize(
    ("missing", "said"),
    [([], "stopped"), ([1], "rank 1 of 8 has gone"), ([0, 3], "ranks 0, 3 of 8 have gone")],
)
def test_the_line_names_who_is_missing(missing, said):
    assert describe_end("stopped", missing, 8) == said


def test_only_lost_connections_are_taken_for_such():
    lost = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection reset by peer")
    wrapped = RuntimeError("Failed to evaluate")
    wrapped.__cause__ = lost
    assert find_error(wrapped, is_lost_connection) is lost
    assert is_lost_connection(dist.DistBackendError("NCCL communicator was aborted"))
    assert find_error(RuntimeError("out of memory"), is_lost_connection) is None
    assert not is_lost_connection(ValueError("gloo/transport"))


def checkpoint(folder):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    made = (torch.nn.Identity(), optimizer, scheduler, torch.nn.Identity(), None)
    return Checkpoint(folder / "checkpoint.pt", *made, settings={}, cases=[], resume=True)


def test_the_advice_is_what_the_file_holds(tmp_path):
    made = checkpoint(tmp_path)
    assert "starts anew" in made.advice()
    torch.save({"network": {}, "optimizer": {}, "progress": {"epoch": 3}, "settings": {}}, made.path)
    assert "starts anew" in made.advice()  # that of an earlier run
    made.own = True
    assert "--resume True continues after epoch 3" in made.advice()


def test_a_checkpoint_that_only_some_processes_see_is_refused(tmp_path, monkeypatch):
    """The others would start from the beginning, and average their gradients with those that do not."""
    monkeypatch.setattr("tools.utils.distributed.gather_objects", lambda value: [not value, value])
    with pytest.raises(InputError, match="found nothing on ranks 1"):
        checkpoint(tmp_path).start(None)


@pytest.mark.parametrize("forks", [True, False])
def test_nobody_watches_where_there_are_no_such_signals(tmp_path, monkeypatch, forks):
    """On Windows a run on several processes goes as it did."""
    monkeypatch.setattr("tools.utils.distributed.is_distributed", lambda: True)
    monkeypatch.setattr("tools.utils.distributed.rank", lambda: 0)
    monkeypatch.setattr("tools.utils.distributed.gather_objects", lambda value: [value])
    monkeypatch.setattr("tools.training.watchdog.Watch", fail)
    if not forks:
        monkeypatch.delattr(os, "fork", raising=False)
    with pytest.raises(InputError, match="no advice") if forks else nullcontext():
        checkpoint(tmp_path).start(None)
