"""Base class of pretext tasks: random streams, case numbers, and use as ``prepare_batch`` of an engine."""

import itertools

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from tools.pretext.classification import ClassificationTask
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.rotation.task import Rotation
from tools.pretext.task import case_numbers, stream_seed
from tools.utils.errors import InputError


def rotation(**kw):
    return Rotation((4, 4), **{"num_rotations": 4, "views_per_volume": 2, **kw})


def batch(*cases, size=(4, 4)):
    return {"image": torch.randn(len(cases), 1, *size), "case": list(cases)}


def test_every_seed_step_and_mode_has_a_stream_of_its_own():
    """Told apart by the lower half alone: that is all a generator on the CPU takes in."""
    streams = [stream_seed(*one) for one in itertools.product((-1, 0, 1, 2, 1234), range(2000), (False, True))]
    assert all(0 <= stream < 2**63 for stream in streams)
    assert len({stream % 2**32 for stream in streams}) >= len(streams) - 1  # 0.05 collisions expected


def test_seeds_of_neighbouring_steps_have_nothing_in_common():
    """Half of the bits change from one step to the next, every one of them now and then."""
    bits = torch.tensor([[stream_seed(0, step, True) >> bit & 1 for bit in range(63)] for step in range(1000)])
    changed = (bits[1:] != bits[:-1]).double().mean(0)
    assert (changed - 0.5).abs().max() < 0.08


def test_validation_parameters_are_constant_and_differ_from_training():
    task = rotation()
    checked = task.validation()
    draws = [one.draw_params(8, 5)["label"] for one in (task, checked, checked, task)]
    assert torch.equal(draws[1], draws[2])
    assert torch.equal(draws[0], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert task.training


def test_case_numbers_are_equal_for_equal_ids_only():
    ids = [f"patient {i}" for i in range(2000)] + ["Köln/β.nii.gz", ""]
    numbers = case_numbers(ids)
    assert numbers.dtype == torch.int64
    assert numbers.min() >= 0
    assert len(numbers.unique()) == len(ids)
    assert torch.equal(case_numbers(ids[::-1]), numbers.flip(0))


def test_case_numbers_do_not_come_from_hash_which_every_process_salts():
    class Salted(str):
        def __hash__(self):
            return 1

    assert hash(Salted("a")) != hash("a")
    assert torch.equal(case_numbers([Salted("a"), Salted("b")]), case_numbers(["a", "b"]))


def test_a_case_has_the_same_number_on_every_rank(monkeypatch):
    monkeypatch.setattr("tools.utils.distributed.world_size", lambda: 2)
    numbers = {}
    for rank, cases in enumerate((["a", "b"], ["c", "a"])):
        monkeypatch.setattr("tools.utils.distributed.rank", lambda rank=rank: rank)
        _, targets = Exemplar((4, 4)).make_batch(batch(*cases), 1)
        for case, number in zip(cases, targets.tolist(), strict=True):
            assert numbers.setdefault(case, number) == number
    assert len(set(numbers.values())) == 3


def test_ranks_have_the_parameters_of_one_process(monkeypatch):
    whole = rotation().draw_params(6, 3)["label"]
    monkeypatch.setattr("tools.utils.distributed.world_size", lambda: 3)
    batches = []
    for rank in range(3):
        monkeypatch.setattr("tools.utils.distributed.rank", lambda rank=rank: rank)
        batches.append(rotation().draw_params(2, 3)["label"])
    assert torch.equal(torch.cat(batches), whole)


def test_in_an_engine_the_step_is_its_iteration():
    task, made = rotation(), []
    engine = Engine(lambda _, data: made.append(task(data)[1]))
    task.attach(engine)
    data = [batch("a", "b") for _ in range(3)]
    engine.run(data, max_epochs=2)
    for step, labels in enumerate(made, 1):
        assert torch.equal(labels, task.make_batch(data[0], step)[1])
    assert not torch.equal(made[0], made[3])


def test_a_validation_task_does_not_follow_the_training_engine():
    task = rotation()
    task.attach(Engine(lambda *_: None))
    with pytest.raises(RuntimeError, match="attached"):
        task.validation()(batch("a"))


def test_params_reproduce_the_batch():
    task, data = rotation(), batch("a", "b")
    inputs, targets = task.make_batch(data, 3)
    again, same = task.apply(data["image"], task.params)
    assert torch.equal(inputs, again)
    assert torch.equal(targets, same)


def test_networks_are_given_plain_tensors():
    data = batch("a", "b")
    inputs, targets = rotation().make_batch({**data, "image": MetaTensor(data["image"])}, 1)
    assert type(inputs) is type(targets) is torch.Tensor


def test_invalid_targets_are_ignored():
    task = rotation()
    scores = torch.zeros(3, 2, 4)
    scores[..., 1] = 1
    targets = torch.tensor([[1, 0], [1, -1], [-1, -1]])
    _, valid = task.top1_correct(scores, targets)
    assert torch.equal(valid, targets >= 0)
    accuracy = task.accuracy(scores, targets)
    assert accuracy[:2].tolist() == [0.5, 1]
    assert accuracy[2].isnan()


def test_orders_of_classes_are_drawn_uniformly():
    """All 24 orders of four classes, chi-squared below its 1e-4 quantile with 23 degrees of freedom."""
    orders = rotation().class_orders(6000, torch.Generator().manual_seed(1))
    counts = (orders * torch.tensor([64, 16, 4, 1])).sum(1).bincount()
    counts = counts[counts > 0]
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 57.1


@pytest.mark.parametrize("views", [0, 5])
def test_views_are_one_to_the_number_of_classes(views):
    with pytest.raises(InputError, match=f"views_per_volume: expected 1 to 4 .* found {views}"):
        rotation(views_per_volume=views)


def test_chance_is_one_of_the_classes():
    task = rotation()
    assert isinstance(task, ClassificationTask)
    assert task.chance == 1 / len(task.classes) == 1 / 4
