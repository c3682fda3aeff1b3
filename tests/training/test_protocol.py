import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from tools.networks.encoders import build_encoder
from tools.training.protocol import TransferProtocol
from tools.utils.errors import InputError

STEPS = 2


class Network(nn.Module):
    """Network that calls `features` of the encoder, as decoders do."""

    def __init__(self):
        super().__init__()
        self.encoder = build_encoder("unet", 2, norm="batch", features=(8, 8, 8, 8, 8), dropout=0.1)
        self.head = nn.Sequential(nn.Conv2d(8, 2, 1), nn.BatchNorm2d(2))

    def forward(self, x):
        return self.head(self.encoder.features(x)[-1])


class Run:
    """A trainer on random images that records the encoder's state after every step."""

    def __init__(self, protocol, epochs, **options):
        torch.manual_seed(0)
        self.network = Network()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.01, weight_decay=0.1)
        self.initial = self._copy()
        self.frozen = []
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=[{"image": torch.rand(4, 1, 32, 32), "label": torch.rand(4, 2, 2, 2)}] * STEPS,
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            train_handlers=[TransferProtocol(self.network.encoder, protocol, **options)],
        )
        self.trainer.add_event_handler("ITERATION_COMPLETED", self._note)

    def _copy(self):
        return {k: v.clone() for k, v in self.network.encoder.state_dict().items()}

    def _note(self, engine):
        training = {m.training for m in self.network.encoder.modules()}
        wanted = {p.requires_grad for p in self.network.encoder.parameters()}
        assert len(training) == len(wanted) == 1
        assert training == wanted
        assert self.network.head[1].training
        self.frozen.append(not training.pop())

    def unchanged(self):
        """Return the names of the unchanged tensors of the encoder."""
        return [k for k, v in self._copy().items() if torch.equal(v, self.initial[k])]

    def head_steps(self):
        return int(self.optimizer.state[self.network.head[0].weight]["step"])


@pytest.mark.parametrize("protocol", ["scratch", "finetune"])
def test_encoder_is_trained_from_the_first_step(protocol):
    run = Run(protocol, 1)
    run.trainer.run()
    assert run.frozen == [False] * STEPS
    assert not run.unchanged()


@pytest.mark.parametrize("protocol", ["frozen", "linear"])
def test_encoder_is_always_frozen(protocol):
    run = Run(protocol, 2, freeze_epochs=1)
    run.trainer.run()
    assert run.frozen == [True] * 2 * STEPS
    assert len(run.unchanged()) == len(run.initial)
    assert run.head_steps() == 2 * STEPS
    assert not run.network.encoder.eval().training


def test_freeze_then_finetune_keeps_the_optimizer_state():
    run = Run("freeze_then_finetune", 3, freeze_epochs=2)
    checks = []

    def at_end_of_epoch(engine):
        encoder_steps = {int(run.optimizer.state[p]["step"]) for p in run.network.encoder.parameters() if p in state()}
        checks.append((len(run.unchanged()), run.head_steps(), encoder_steps))

    def state():
        return run.optimizer.state

    run.trainer.add_event_handler("EPOCH_COMPLETED", at_end_of_epoch)
    run.trainer.run()
    everything = len(run.initial)
    assert run.frozen == [True] * 2 * STEPS + [False] * STEPS
    assert checks == [(everything, STEPS, set()), (everything, 2 * STEPS, set()), (0, 3 * STEPS, {STEPS})]
    assert "train" not in vars(run.network.encoder)


@pytest.mark.parametrize("finished", [1, 2])
def test_resumed_run_freezes_depending_on_the_epoch(finished):
    run = Run("freeze_then_finetune", 3, freeze_epochs=2)

    def resume(engine):
        engine.state.epoch, engine.state.iteration = finished, finished * STEPS

    run.trainer.add_event_handler("STARTED", resume)
    run.trainer.run()
    assert run.frozen == ([True] * 2 * STEPS + [False] * STEPS)[finished * STEPS :]


def test_frozen_encoder_ignores_moments():
    run = Run("frozen", 1)
    run.network(torch.rand(4, 1, 32, 32)).sum().backward()
    run.optimizer.step()
    run.initial = run._copy()
    run.trainer.run()
    assert len(run.unchanged()) == len(run.initial)


@pytest.mark.parametrize(
    ("protocol", "epochs", "message"),
    [
        ("fintune", 0, "protocol: expected one of scratch, .* found 'fintune'; did you mean finetune"),
        ("freeze_then_finetune", 0, "freeze_epochs: expected at least 1 with protocol freeze_then_finetune, found 0"),
    ],
)
def test_bad_arguments(protocol, epochs, message):
    with pytest.raises(InputError, match=message):
        TransferProtocol(nn.Identity(), protocol, epochs)
