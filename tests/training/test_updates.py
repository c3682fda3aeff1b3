"""The optimizer's updates: accumulated, clipped, scaled, and continued from a checkpoint."""

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
    """Losses and learning rates of one epoch over the images."""
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
def test_accumulated_steps_update_as_one_large_step_does(max_norm):
    """Clipped as one, too; every loss that is reported is that of its own step."""
    small = nn.Linear(4, 3)
    large, start = copy.deepcopy(small), copy.deepcopy(small)
    losses, rate = train(small, 2, 4, max_norm)
    (loss,), _ = train(large, 8, 1, max_norm)
    assert sum(losses) / 4 == pytest.approx(loss)
    assert rate == pytest.approx(0.1 * 0.9**4)  # the schedule counts steps, as its length does
    begun = 0.1 * 0.9**3 / 0.1  # three steps of the schedule come before the update
    for a, b, c in zip(small.parameters(), large.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a - c, (b - c) * begun, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_only_float16_scales_its_loss(dtype):
    """And bfloat16 keeps a scaler that does nothing: MONAI's trainer ends mixed precision without one."""
    state = SimpleNamespace(device=torch.device("cpu"))
    engine = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), amp_kwargs={"dtype": dtype}, state=state)
    configure_grad_scaler(engine)
    loss = torch.ones(2, requires_grad=True).sum()
    assert (engine.scaler.scale(loss) != loss) == (dtype is torch.float16)
    network = SimpleNamespace(scaler=None, amp_kwargs={}, state=state)
    configure_grad_scaler(network)
    assert network.scaler is None


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_moments_follow_weights_of_another_order(kind):
    """Continued with the other ``channels_last``, a fused optimizer does as if nothing had changed."""
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
def test_convolutions_are_tuned_unless_they_shall_be_deterministic(deterministic):
    """After MONAI has forbidden it."""
    try:
        set_determinism(0, use_deterministic_algorithms=deterministic)
        set_cudnn_benchmark()
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.backends.cudnn.deterministic is deterministic
    finally:
        set_determinism(None, use_deterministic_algorithms=False)
