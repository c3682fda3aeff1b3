import logging
import time

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from tools.training.engine import scale_gradients
from tools.training.profiler import PARTS, Clock

STEPS, SAMPLES = 3, 2


class Slow(torch.autograd.Function):
    """The identity, whose backward pass takes time."""

    @staticmethod
    def forward(ctx, x, wait):
        ctx.wait = wait
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.wait("backward")
        return gradient, None


class Times:
    """A clock of its own: every part of a step takes as long as it is told."""

    def __init__(self, monkeypatch, **seconds):
        self.seconds, self.now, self.epoch = seconds, 0.0, 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def wait(self, part):
        self.now += self.seconds.get(part, 0.0) * (10 if self.epoch == 1 else 1)

    def loader(self):
        while True:
            self.wait("wait")
            yield {"image": torch.ones(SAMPLES, 4), "label": torch.ones(SAMPLES, 3)}

    def prepare(self, batch, device, non_blocking, **kwargs):
        self.wait("generate")
        return batch["image"], batch["label"]

    def loss(self, prediction, target):
        self.wait("forward")
        return Slow.apply((prediction - target).square().mean(), self.wait)

    def trainer(self, epochs=2):
        network = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        optimizer.register_step_pre_hook(lambda *_: self.wait("optimizer"))
        settings = {"device": "cpu", "max_epochs": epochs, "epoch_length": STEPS, "decollate": False}
        trainer = SupervisedTrainer(
            train_data_loader=self.loader(),
            network=network,
            optimizer=optimizer,
            loss_function=self.loss,
            prepare_batch=self.prepare,
            **settings,
        )
        trainer.logger.setLevel(logging.WARNING)
        clock = Clock()
        clock.attach(trainer)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: setattr(self, "epoch", engine.state.epoch))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.wait("rest"))
        clock.attach_end(trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self.wait("validation"))
        return trainer


@pytest.mark.parametrize("part", ["wait", *PARTS])
def test_time_is_found_where_it_was_spent(monkeypatch, part):
    trainer = Times(monkeypatch, **{part: 0.004}, validation=1.0).trainer()
    trainer.run()
    found = trainer.state.metrics
    assert found["samples_per_second"] == pytest.approx(SAMPLES / 0.004)
    if part == "wait":
        assert found["loader_wait"] == pytest.approx(1.0)
    else:
        assert found["loader_wait"] == 0
        assert found["step_ms"] == pytest.approx(4.0)
        assert {name: found[f"step_{name}"] for name in PARTS} == pytest.approx({**dict.fromkeys(PARTS, 0), part: 1})


@pytest.mark.parametrize(("epochs", "slower"), [(1, 10), (3, 1)])
def test_one_line_at_the_end_leaves_the_warm_up_out(monkeypatch, caplog, epochs, slower):
    """Of a matrix (4, 3) and 2 samples: 48 operations forward, as many for the gradient of the weights."""
    seconds = {"wait": 2.5e-6, "generate": 1e-6, "forward": 2e-6, "backward": 4e-6, "optimizer": 1e-6, "rest": 2e-6}
    trainer = Times(monkeypatch, **seconds).trainer(epochs)
    with caplog.at_level(logging.INFO, "tools.training.profiler"):
        trainer.run()
    assert [record.getMessage() for record in caplog.records] == [
        f"{SAMPLES / 12.5e-6 / slower:.0f} samples/s; 20.0% waiting for data; step {0.01 * slower:.3g} ms: "
        f"generate 10%, forward 20%, backward 40%, optimizer 10%, rest 20%; {96 / 1e-5 / slower / 1e12:.3g} TFLOP/s"
    ]


def test_counting_changes_nothing_and_ends_with_an_error(monkeypatch):
    weights = []
    for counts in (True, False):
        torch.manual_seed(0)
        trainer = Times(monkeypatch).trainer()
        if not counts:
            monkeypatch.setattr(Clock, "_count_operations", lambda clock, engine: None)
        trainer.run()
        weights.append(trainer.network.weight)
    assert torch.equal(*weights)
    monkeypatch.undo()
    trainer = Times(monkeypatch).trainer()
    trainer.loss_function = lambda *_: 1 / 0
    trainer.logger.setLevel(logging.CRITICAL)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert _get_current_dispatch_mode() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_on_cuda_waits_for_the_device():
    network = nn.Linear(4, 3).cuda()
    batch = {"image": torch.ones(2, 4, device="cuda"), "label": torch.ones(2, 3, device="cuda")}
    trainer = SupervisedTrainer(
        device=torch.device("cuda"),
        max_epochs=2,
        epoch_length=3,
        train_data_loader=[batch] * 3,
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), fused=True),
        loss_function=nn.MSELoss(),
        decollate=False,
        amp=True,
        amp_kwargs={"dtype": torch.bfloat16},
    )
    trainer.add_event_handler(Events.STARTED, scale_gradients)
    clock = Clock()
    clock.attach(trainer)
    clock.attach_end(trainer)
    later = {"event_filter": lambda _, step: step > 3}  # than what is made once
    trainer.add_event_handler(Events.ITERATION_STARTED(**later), lambda _: torch.cuda.set_sync_debug_mode("error"))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: torch.cuda.set_sync_debug_mode("default"))
    try:
        trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.state.metrics["step_ms"] > 0
