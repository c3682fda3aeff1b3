import pytest
import torch

from tools.training.schedules import build_schedule
from tools.utils.errors import InputError


def rates(name, warmup=4, total=100, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(name, optimizer, warmup, total, **options)
    found = []
    for _ in range(total):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_schedules_warm_up_from_a_tenth_and_decay(name):
    found = rates(name)
    assert found[0] == pytest.approx(0.2)
    assert found[:5] == sorted(found[:5])
    assert found[4:] == sorted(found[4:], reverse=True)
    assert max(found) == pytest.approx(2.0)


def test_default_milestones():
    found = rates("step", warmup=0)
    assert [found[i] for i in (0, 29, 30, 60, 90)] == pytest.approx([2, 2, 0.2, 0.02, 0.002])


def test_other_milestones():
    found = rates("step", warmup=0, milestones=[2 / 3, 22 / 24])
    assert [found[i] for i in (0, 66, 67, 91, 92)] == pytest.approx([2, 2, 0.2, 0.2, 0.02])


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="lr_schedule"):
        rates("linear")
