"""Frozen, hanging and killed ranks end a distributed run with one line naming the rank; long preparation does not."""

import os
import signal
import sys
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.utils import watchdog
from tools.utils.excepthook import install_excepthook

TIMEOUT = 3.0


def work(rank, port, folder, what, ranks):
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    place |= {"RANK": rank, "WORLD_SIZE": ranks}
    os.environ.update({name: str(value) for name, value in place.items()})
    sys.stderr = open(f"{folder}/{rank}.txt", "w", buffering=1)  # noqa: SIM115
    install_excepthook()
    watchdog.start_processes(torch.device("cpu"), TIMEOUT)
    dist.barrier()
    if what == "prepares" and rank == 1:
        time.sleep(2 * TIMEOUT)
    if what == "hangs":
        watchdog.TRAINING, watchdog.BEHIND = timedelta(seconds=4 * TIMEOUT), 0.5
        watchdog.limit_collectives()
        for _ in range(3 if rank == 1 else 4):
            watchdog.advance()
        if rank == 1:
            time.sleep(60)
    if what in ("freezes", "dies") and rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP if what == "freezes" else signal.SIGKILL)
    try:
        for _ in range(3 if what == "prepares" else 10**9):
            dist.all_reduce(torch.zeros(1))
        watchdog.end_processes()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("what", ["freezes", "hangs", "dies", "prepares"])
def test_a_silent_rank_is_named(tmp_path, fault, what, ranks):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    start = mp.get_context(START).Process
    all_of_them = [start(target=work, args=(r, store.port, tmp_path, what, ranks), daemon=True) for r in range(ranks)]
    for one in all_of_them:
        one.start()
    with fault():
        for rank, one in enumerate(all_of_them):
            if what not in ("freezes", "hangs") or rank != 1:
                one.join(60)
                assert one.exitcode == (0 if what == "prepares" else -9 if rank == 1 else 1), rank
        all_of_them[1].kill()
        message = "".join((tmp_path / f"{rank}.txt").read_text() for rank in range(ranks))
        lines = [line for line in message.splitlines() if "error: " in line]
        assert len(lines) == (what != "prepares"), message
        assert what != "freezes" or "rank 1 has given no sign of life" in lines[0]
        assert what != "hangs" or "rank 1 has not continued training" in lines[0]
        assert "Traceback" not in message
