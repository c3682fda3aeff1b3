import logging

import pytest
import torch
from ignite.engine import Engine, Events

from tools.training.profiler import StepProfiler

STEPS, SAMPLES = 3, 2


class Times:
    """A simulated clock with a given duration of every part of a run, ten times as long in the first epoch."""

    def __init__(self, monkeypatch, **seconds):
        self.seconds, self.now, self.epoch = seconds, 0.0, 1
        monkeypatch.setattr("ignite.handlers.timing.perf_counter", lambda: self.now)

    def take(self, part):
        self.now += self.seconds.get(part, 0.0) * (10 if self.epoch == 1 else 1)

    def loader(self):
        while True:
            self.take("wait")
            yield {"image": torch.ones(SAMPLES, 4)}

    def trainer(self):
        trainer = Engine(lambda engine, batch: self.take("step"))
        trainer.state.metrics = {}
        profiler = StepProfiler()
        profiler.attach(trainer)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: setattr(self, "epoch", engine.state.epoch))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.take("handlers"))
        profiler.attach_end(trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self.take("validation"))
        return trainer, profiler

    def run(self, epochs=2):
        trainer, _ = self.trainer()
        trainer.run(self.loader(), max_epochs=epochs, epoch_length=STEPS)
        return trainer.state.metrics


@pytest.mark.parametrize("part", ["wait", "step", "handlers"])
def test_time_is_attributed_to_its_part(monkeypatch, part):
    found = Times(monkeypatch, **{part: 0.004}, validation=1.0).run()
    assert found["samples_per_second"] == pytest.approx(SAMPLES / 0.004)
    assert found["loader_wait"] == pytest.approx(float(part == "wait"))
    assert found["step_ms"] == pytest.approx(0.0 if part == "wait" else 4.0)


@pytest.mark.parametrize(("epochs", "slower"), [(1, 10), (3, 1)])
def test_summary_excludes_the_first_epoch(monkeypatch, caplog, epochs, slower):
    with caplog.at_level(logging.INFO, "tools.training.profiler"):
        Times(monkeypatch, wait=0.001, step=0.003, handlers=0.001).run(epochs)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "tools.training.profiler"]
    assert f"{SAMPLES / 0.005 / slower:.3g} samples/s" in message
    assert "20.0%" in message
    assert f"{4 * slower} ms" in message


def test_samples_per_second_of_the_current_epoch(monkeypatch):
    times = Times(monkeypatch, step=0.5)
    trainer, profiler = times.trainer()
    rates = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: rates.append(profiler.samples_per_second()))
    trainer.run(times.loader(), max_epochs=2, epoch_length=STEPS)
    assert rates == pytest.approx([SAMPLES / 5] * STEPS + [SAMPLES / 0.5] * STEPS)


def test_real_clock_gives_finite_values():
    trainer, _ = Times.trainer(type("Real", (Times,), {"__init__": lambda self: None, "take": lambda *_: None})())
    trainer.run([{"image": torch.ones(SAMPLES)}] * STEPS, max_epochs=1)
    assert 0 < trainer.state.metrics["step_ms"] < 1e4
    assert 0 <= trainer.state.metrics["loader_wait"] <= 1
