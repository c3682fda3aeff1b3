"""Optimizer steps with accumulation, clipping and loss scaling, and after resuming."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.utils import set_determinism
from torch import nn

from tools.networks.preparation import prepare_network
from tools.training.clipping import GradientClipping
from tools.training.engine import configure_grad_scaler, set_cudnn_benchmark
from tools.training.restore import match_memory_format

IMAGES, LABELS = torch.randn(8, 4), torch.randn(8, 3)


def train(network, batch_size, accumulation_steps, max_norm=1e9):
    """Return losses and learning rates of one epoch."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    batches = [
        {"image": image, "label": label}
        for image, label in zip(IMAGES.split(batch_size), LABELS.split(batch_size), strict=True)
    ]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        accumulation_steps=accumulation_steps,
        decollate=False,
        train_handlers=[
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
            GradientClipping(network, max_norm),
        ],
    )
    trainer.logger.setLevel(logging.WARNING)
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item()))
    trainer.run()
    return losses, optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("max_norm", [1e9, 0.01])
def test_accumulated_steps_equal_one_large_step(max_norm):
    """Also with clipping; each reported loss belongs to its own iteration."""
    small = nn.Linear(4, 3)
    large, start = copy.deepcopy(small), copy.deepcopy(small)
    losses, rate = train(small, 2, 4, max_norm)
    (loss,), _ = train(large, 8, 1, max_norm)
    assert sum(losses) / 4 == pytest.approx(loss)
    assert rate == pytest.approx(0.1 * 0.9**4)  # the schedule counts optimizer steps
    begun = 0.1 * 0.9**3 / 0.1  # the update follows three steps of the schedule
    for a, b, c in zip(small.parameters(), large.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a - c, (b - c) * begun, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_is_scaled_only_in_float16(dtype):
    """With bfloat16 the scaler is disabled but exists, since MONAI's trainer requires one for mixed precision."""
    state = SimpleNamespace(device=torch.device("cpu"))
    engine = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), amp_kwargs={"dtype": dtype}, state=state)
    configure_grad_scaler(engine)
    loss = torch.ones(2, requires_grad=True).sum()
    assert (engine.scaler.scale(loss) != loss) == (dtype is torch.float16)
    network = SimpleNamespace(scaler=None, amp_kwargs={}, state=state)
    configure_grad_scaler(network)
    assert network.scaler is None


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_moments_have_the_memory_format_of_the_weights(kind):
    """A fused optimizer gives the same result after resuming with another ``channels_last``."""
    network = prepare_network(nn.Conv2d(3, 4, 3), "cpu", channels_last=True)
    options = {"lr": 0.1, "fused": True, **({"momentum": 0.9} if kind is torch.optim.SGD else {})}
    optimizer = kind(network.parameters(), **options)

    def update(network, optimizer):
        torch.manual_seed(0)
        for _ in range(2):
            optimizer.zero_grad()
            network(torch.randn(2, 3, 5, 6)).square().mean().backward()
            optimizer.step()

    update(network, optimizer)
    other = prepare_network(copy.deepcopy(network), "cpu", channels_last=False)
    continued = kind(other.parameters(), **options)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    match_memory_format(continued)
    update(network, optimizer)
    update(other, continued)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_benchmark_unless_deterministic(deterministic):
    """Also after MONAI's `set_determinism`, which disables it."""
    try:
        set_determinism(0, use_deterministic_algorithms=deterministic)
        set_cudnn_benchmark()
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.backends.cudnn.deterministic is deterministic
    finally:
        set_determinism(None, use_deterministic_algorithms=False)
