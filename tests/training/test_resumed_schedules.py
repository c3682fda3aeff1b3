"""Resumed runs equal uninterrupted ones bit for bit with any PyTorch scheduler."""

from functools import partial

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.optimizers import WarmupCosineSchedule
from torch import nn
from torch.optim import lr_scheduler

from tools.training.checkpoint import Checkpoint
from tools.training.schedules import build_schedule
from tools.utils.errors import InputError

EPOCHS, STEPS = 6, 4
TOTAL = EPOCHS * STEPS
METRICS = (0.9, 0.95, 0.8, 0.85, 0.86, 0.87)


def sequence(optimizer):
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5),
        lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - 5),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [5])


def chain(optimizer):
    parts = [lr_scheduler.ExponentialLR(optimizer, 0.95), lr_scheduler.StepLR(optimizer, 7, 0.5)]
    return lr_scheduler.ChainedScheduler(parts, optimizer)


#: schedulers that step at every iteration; a further one is a line
PER_STEP = {
    "warmup cosine": lambda o: WarmupCosineSchedule(o, 4, TOTAL, warmup_multiplier=0.1),
    "step by name": lambda o: build_schedule("step", o, 2, TOTAL),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.97),
    "multi-step": lambda o: lr_scheduler.MultiStepLR(o, [3, 11, 17]),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.93),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, TOTAL),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=TOTAL),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, step_size_up=5, cycle_momentum=False),
    "sequence": sequence,
    "chain": chain,
}
#: schedulers that take a metric after every epoch
PER_EPOCH = {"plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, cooldown=1, min_lr=1e-3)}


class Run:
    """A small network trained by MONAI, with a checkpoint after every epoch."""

    def __init__(self, folder, make, per_epoch=False, epochs=EPOCHS, rate=0.05, resume=False):
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate)
        self.scheduler = make(self.optimizer)
        loss = nn.MSELoss()
        data = [{"image": torch.randn(4, 3), "label": torch.randn(4, 1)} for _ in range(STEPS)]
        evaluator = SupervisedEvaluator("cpu", data, self.network, decollate=False)
        metric = (lambda engine: METRICS[engine.state.epoch - 1]) if per_epoch else (lambda engine: ())
        schedule = LrScheduleHandler(self.scheduler, False, epoch_level=per_epoch, step_transform=metric)
        self.trainer = SupervisedTrainer(
            "cpu", epochs, data, self.network, self.optimizer, loss, decollate=False, train_handlers=[schedule]
        )
        arguments = (self.network, self.optimizer, self.scheduler, loss, evaluator, {}, [], resume)
        checkpoint = Checkpoint(folder / "checkpoint.pt", *arguments)
        checkpoint.attach(self.trainer)
        self.rates = []
        self.trainer.add_event_handler(Events.ITERATION_STARTED, self._note)
        checkpoint.attach_save(self.trainer)

    def _note(self, engine):
        group = self.optimizer.param_groups[0]
        self.rates.append((group["lr"], group["betas"]))

    def go(self):
        self.trainer.run()
        return self


@pytest.mark.parametrize("name", [*PER_STEP, *PER_EPOCH])
@pytest.mark.parametrize("killed", [1, 3, 5])
def test_a_resumed_schedule_equals_an_uninterrupted_one(tmp_path, name, killed):
    make, per_epoch = (PER_STEP | PER_EPOCH)[name], name in PER_EPOCH
    whole = Run(tmp_path / "whole", make, per_epoch).go()
    killed_run = Run(tmp_path, make, per_epoch)
    killed_run.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: e.terminate() if e.state.epoch == killed else 0
    )
    killed_run.go()
    resumed = Run(tmp_path, make, per_epoch, resume=True).go()
    assert killed_run.rates + resumed.rates == whole.rates
    assert len({rate for rate, _ in whole.rates}) > 2
    for one, other in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)


def cosine_of(total, name):
    """A schedule that ends at a rate of 0."""
    return {
        "warmup cosine": partial(WarmupCosineSchedule, warmup_steps=4, t_total=total),
        "one cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=total),
        "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=total),
    }[name]


@pytest.mark.parametrize("name", ["warmup cosine", "one cycle", "cosine"])
def test_extended_run_follows_the_longer_schedule(tmp_path, name):
    Run(tmp_path, cosine_of(STEPS, name), epochs=1).go()
    resumed = Run(tmp_path, cosine_of(TOTAL, name), resume=True).go()
    assert resumed.rates == Run(tmp_path / "whole", cosine_of(TOTAL, name)).go().rates[STEPS:]


def test_a_schedule_shorter_than_the_steps_taken_is_refused(tmp_path):
    Run(tmp_path, cosine_of(TOTAL, "one cycle"), epochs=4).go()
    with pytest.raises(InputError, match=f"scheduler: expected a schedule of at least {4 * STEPS} steps"):
        Run(tmp_path, cosine_of(STEPS, "one cycle"), resume=True).go()


@pytest.mark.parametrize("name", [*PER_STEP, *PER_EPOCH])
def test_changed_learning_rate_takes_effect(tmp_path, name):
    make, per_epoch = (PER_STEP | PER_EPOCH)[name], name in PER_EPOCH
    whole = Run(tmp_path / "whole", make, per_epoch, rate=0.025).go()
    Run(tmp_path, make, per_epoch, epochs=3).go()
    resumed = Run(tmp_path, make, per_epoch, rate=0.025, resume=True).go()
    assert resumed.rates == whole.rates[3 * STEPS :]


def test_another_class_of_schedule_is_refused(tmp_path):
    Run(tmp_path, PER_STEP["cosine"], epochs=1).go()
    with pytest.raises(InputError, match=r"scheduler: .*CosineAnnealingLR, found OneCycleLR"):
        Run(tmp_path, PER_STEP["one cycle"], resume=True).go()
