"""A rank is reported once its counter has not changed, or has stayed behind, for longer than the timeout."""

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.utils import distributed, watchdog
from tools.utils.watchdog import RankWatchdog


class Store(dict):
    def set(self, key, value):
        self[key] = value.encode()

    def check(self, keys):
        return all(key in self for key in keys)


def dogs(timeout=10.0, phases=(0, 0, 0)):
    store, now = Store(), [0.0]
    return [
        RankWatchdog(store, rank, 3, timeout, lambda: now[0], lambda rank=rank: phases[rank]) for rank in range(3)
    ], now


def test_ranks_that_count_are_not_silent():
    ranks, now = dogs()
    for _ in range(50):
        now[0] += 9
        assert [dog.beat() for dog in ranks] == [None] * 3


def test_a_rank_that_stops_is_named_by_the_one_that_watches_it():
    ranks, now = dogs()
    for dog in ranks:
        dog.beat()
    message = []
    for _ in range(4):
        now[0] += 4
        message.append([ranks[0].beat(), ranks[1].beat()])
    assert message[-1][1].startswith("rank 2 has given no sign of life for 10 seconds")
    assert message.pop()[0] is None
    assert message == [[None, None]] * 3


def test_a_rank_that_never_starts_is_silent():
    ranks, now = dogs()
    assert ranks[0].beat() is None
    now[0] = 11
    assert "rank 1 " in ranks[0].beat()


def test_a_rank_that_ended_as_planned_is_not_silent():
    ranks, now = dogs()
    for dog in ranks:
        dog.beat()
    ranks[2].end()
    for _ in range(5):
        now[0] += 9
        assert ranks[1].beat() is None


LIMIT = watchdog.BEHIND * watchdog.TRAINING.total_seconds()


@pytest.mark.parametrize(("phases", "named"), [([7, 7, 6], 2), ([7, 7, 7], None), ([0, 1, 0], 2), ([5, 7, 7], 0)])
def test_a_rank_whose_training_loop_stays_behind_is_named(phases, named):
    ranks, now = dogs(phases=phases)
    found = set()
    while now[0] < LIMIT + 30:
        found |= {dog.beat() for dog in ranks}
        assert found == {None} or now[0] > LIMIT
        now[0] += 9
    (message,) = (found - {None}) or [None]
    assert (message is None) if named is None else message.startswith(f"rank {named} has not continued training")


def test_a_slow_rank_that_continues_is_not_named():
    phases = [9, 9, 0]
    ranks, now = dogs(phases=phases)
    while now[0] < 4 * LIMIT:
        phases[2] = int(now[0] / LIMIT * 2)
        assert [dog.beat() for dog in ranks] == [None] * 3
        now[0] += 9


def _reduce_without_the_other(rank, folder):
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=distributed.PREPARATION)
    watchdog.TRAINING = watchdog.timedelta(seconds=2)
    watchdog.limit_collectives()
    begun = time.monotonic()
    if rank == 0:
        with pytest.raises(RuntimeError, match="imed out"):
            dist.all_reduce(torch.zeros(1))
        Path(folder, "seconds").write_text(str(time.monotonic() - begun))
    else:
        while not Path(folder, "seconds").exists() and time.monotonic() < begun + 30:
            time.sleep(0.1)


def test_collective_operations_of_training_wait_for_a_shorter_time(tmp_path):
    watchdog.limit_collectives()  # without a process group, nothing happens
    mp.start_processes(_reduce_without_the_other, (str(tmp_path),), nprocs=2, start_method=START)
    assert 1 < float((tmp_path / "seconds").read_text()) < 20
