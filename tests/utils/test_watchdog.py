"""A rank is reported once its counter has not changed for longer than the timeout."""

from tools.utils.watchdog import RankWatchdog


class Store(dict):
    def set(self, key, value):
        self[key] = value.encode()

    def check(self, keys):
        return all(key in self for key in keys)


def dogs(timeout=10.0):
    store, now = Store(), [0.0]
    return [RankWatchdog(store, rank, 3, timeout, lambda: now[0]) for rank in range(3)], now


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
    assert message == [[None, None], [None, None], [None, None], [None, 2]]


def test_a_rank_that_never_starts_is_silent():
    ranks, now = dogs()
    assert ranks[0].beat() is None
    now[0] = 11
    assert ranks[0].beat() == 1


def test_a_rank_that_ended_as_planned_is_not_silent():
    ranks, now = dogs()
    for dog in ranks:
        dog.beat()
    ranks[2].end()
    for _ in range(5):
        now[0] += 9
        assert ranks[1].beat() is None
