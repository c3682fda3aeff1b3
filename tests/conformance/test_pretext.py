"""What holds for every pretext task. A new task is one more entry of TASKS."""

import pytest
import torch

from tools import pretext
from tools.errors import InputError
from tools.pretext import CPC

TASKS = {
    "cpc3d": lambda **kw: CPC(**{"roi_size": (36, 36, 36), "grid": 3, "jitter": 2, **SMALL_CPC, **kw}),
    "cpc2d": lambda **kw: CPC(**{"roi_size": (72, 72), "grid": 4, "jitter": 2, **SMALL_CPC, **kw}),
}
SMALL_CPC = {"negatives_same_volume": 5, "negatives_other_volumes": 6}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=TASKS)
def make(request):
    return TASKS[request.param]


def test_every_task_is_here():
    exported = {one for name in pretext.__all__ if issubclass(one := getattr(pretext, name), pretext.PretextTask)}
    assert {type(make()) for make in TASKS.values()} == exported - {pretext.PretextTask}


def images_for(task, batch=3, channels=2, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, channels, *task.grid.image_size, generator=generator).to(device, dtype)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_and_step_give_the_same_bits(make):
    first, again = make(seed=3).draw(3, 7), make(seed=3).draw(3, 7)
    assert first.keys() == again.keys()
    assert equal(first.values(), again.values())


@pytest.mark.parametrize(("seed", "step"), [(4, 7), (3, 8)])
def test_another_seed_or_step_draws_anew(make, seed, step):
    assert not equal(make(seed=3).draw(3, 7).values(), make(seed=seed).draw(3, step).values())


def test_apply_is_pure(make):
    task = make()
    images = images_for(task)
    params = task.draw(3, 1)
    before = images.clone(), {k: v.clone() for k, v in params.items()}
    first, second = task.apply(images, params), task.apply(images, params)
    assert equal(first, second)
    assert torch.equal(images, before[0])
    assert equal(params.values(), before[1].values())


def test_batched_inputs_equal_single_ones(make):
    task = make()
    images = images_for(task)
    params = task.draw(3, 2)
    batched, _ = task.apply(images, params)
    for i in range(3):
        single = {k: v if len(v) == 1 else v[i : i + 1] for k, v in params.items()}
        assert torch.equal(task.apply(images[i : i + 1], single)[0], batched[i : i + 1])


def test_voxels_are_moved_never_changed(make):
    task = make()
    images = torch.arange(3 * torch.tensor(task.grid.image_size).prod().item()).reshape(3, 1, *task.grid.image_size)
    inputs, _ = task.apply(images, task.draw(3, 1))
    for image, cut in zip(images, inputs, strict=True):
        assert torch.isin(cut, image).all()
        assert cut.unique().numel() == cut.numel(), "cells overlap though they should not"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_and_device_are_kept(make, dtype, device):
    task = make()
    inputs, targets = task.apply(images_for(task, dtype=dtype, device=device), task.draw(3, 1))
    assert inputs.dtype == dtype
    assert inputs.device.type == targets.device.type == device
    reference = task.apply(images_for(task), task.draw(3, 1))
    assert torch.equal(inputs.cpu(), reference[0].to(dtype))
    assert torch.equal(targets.cpu(), reference[1])


def test_constant_input_stays_finite(make):
    task = make()
    inputs, _ = task.apply(torch.zeros(3, 1, *task.grid.image_size), task.draw(3, 1))
    assert torch.isfinite(inputs).all()


def test_validation_is_a_fixed_stream_without_jitter(make):
    task = make().validation()
    assert not task.training
    first, second = task.draw(3, 1), task.draw(3, 2)
    assert torch.equal(first["corners"], first["corners"][:1].expand_as(first["corners"]))
    assert not equal(first.values(), second.values())
    assert not equal(first.values(), make().draw(3, 1).values())


def test_wrong_image_size_is_named(make):
    task = make()
    wrong = torch.zeros(3, 1, *(s + 1 for s in task.grid.image_size))
    with pytest.raises(InputError, match="expected crops of"):
        task.apply(wrong, task.draw(3, 1))


def test_ranks_take_slices_of_one_global_batch(make, monkeypatch):
    task = make()
    whole = task.draw(4, 5)
    monkeypatch.setattr("tools.distributed.world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("tools.distributed.rank", lambda rank=rank: rank)
        for key, value in task.draw(2, 5).items():
            expected = whole[key] if len(whole[key]) == 1 else whole[key][2 * rank : 2 * rank + 2]
            assert torch.equal(value, expected)


def test_it_must_know_its_engine(make):
    with pytest.raises(RuntimeError, match="attached"):
        make()({"image": torch.zeros(1)})
